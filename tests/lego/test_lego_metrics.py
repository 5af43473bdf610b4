"""What Prometheus is told by a controller that runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.lego.fake_ca import FakeCa, problem
from tests.lego.world import World, ingress

from binderops.kube import certificates as names
from binderops.kube.kinds import INGRESS
from binderops.kube.objects import parse_timestamp


@pytest.fixture
def ca(world: World) -> Iterator[FakeCa]:
    made = FakeCa()
    with made.serving(world.folder) as file:
        world.server, world.ca = f"{made.url}/directory", file
        yield made


def told(world: World) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The samples of kube-lego's own metrics, by name."""
    text = httpx2.get(f"http://127.0.0.1:{world.port}/metrics", trust_env=False).text
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("kube_lego_") and not sample.name.endswith("_created"):
                found.setdefault(sample.name.removeprefix("kube_lego_"), []).append((sample.labels, sample.value))
    return found


async def test_ends_renewals_windows_and_failures_by_reason(world: World, ca: FakeCa) -> None:
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=50)
    ca.window = (start, start + timedelta(days=1))
    world.start()
    await world.client.create(ingress("web", world.namespace, ("web-tls", ["a.example.org"])))
    pair = await world.issued("web-tls")

    async def window() -> Any:
        return told(world).get("renewal_window_start_timestamp_seconds")

    await world.until(window)
    by = {"namespace": world.namespace, "secret": "web-tls"}
    renew_at = parse_timestamp((await world.annotations("web-tls"))[names.RENEW_AT])
    assert told(world) == {
        "certificate_expiry_timestamp_seconds": [(by, pair.leaf.not_valid_after_utc.timestamp())],
        "certificate_renewal_timestamp_seconds": [(by, renew_at.timestamp())],
        "renewal_window_start_timestamp_seconds": [(by, start.timestamp())],
        "renewal_window_end_timestamp_seconds": [(by, (start + timedelta(days=1)).timestamp())],
        "certificate_failures": [(by, 0)],
        "certificates_issued_total": [({"issuer": "default", "renewal": "false"}, 1)],
        "leading": [({}, 1)],
    }

    ca.refuse_orders = [problem("rateLimited", "enough", 429)] * 2  # the second without `replaces`
    await world.annotate_secret("web-tls", RENEW_AT="2000-01-01T00:00:00Z")
    await world.event("Failed")

    async def failing() -> bool:
        return told(world)["certificate_failures"] == [(by, 1)]

    await world.until(failing)
    assert told(world)["failures_total"] == [({"issuer": "default", "reason": "rateLimited"}, 1)]
    assert told(world)["certificate_expiry_timestamp_seconds"] == [(by, pair.leaf.not_valid_after_utc.timestamp())]
    await world.annotate_secret("web-tls", NEXT_ATTEMPT="2000-01-01T00:00:00Z")
    ca.refuse_orders = []
    await world.issued("web-tls", besides=pair.leaf.serial_number)

    async def good_again() -> bool:
        return told(world)["certificate_failures"] == [(by, 0)]

    await world.until(good_again)
    assert ({"issuer": "default", "renewal": "true"}, 1) in told(world)["certificates_issued_total"]

    await world.client.delete(INGRESS, "web", world.namespace)

    async def forgotten() -> bool:
        return not any(labels.get("secret") for samples in told(world).values() for labels, _ in samples)

    await world.until(forgotten)
