"""What CAs do and Pebble does not: limits, slow processing, subproblems, windows in the past, bad chains, clocks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.lego.fake_ca import FakeCa, problem
from tests.lego.world import World, ingress, pair_in

from binderops.kube import certificates as names
from binderops.kube.kinds import INGRESS, SECRET
from binderops.kube.objects import parse_timestamp
from binderops.lego.orders import Orders
from binderops.lego.pairs import certificate_id
from binderops.lego.settings import Issuer, Settings
from binderops.lego.wanted import plan

HOSTS = ["a.example.org", "b.example.org"]
PROCESSING = float(os.environ.get("LEGO_PROCESSING_SECONDS", "4"))  # `make soak-lego`: three minutes


@pytest.fixture
def ca(world: World) -> Iterator[FakeCa]:
    made = FakeCa()
    with made.serving(world.folder) as file:
        world.server, world.ca = f"{made.url}/directory", file
        yield made


async def ask(world: World) -> None:
    await world.client.create(ingress("web", world.namespace, ("web-tls", HOSTS)))


def waits(annotations: dict[str, str]) -> timedelta:
    return parse_timestamp(annotations[names.NEXT_ATTEMPT]) - parse_timestamp(annotations[names.FAILURE_AT])


async def test_a_rate_limit_is_waited_for_as_long_as_it_says(world: World, ca: FakeCa) -> None:
    ca.refuse_orders = [
        problem(
            "rateLimited", "too many certificates already issued for example.org", 429, headers={"Retry-After": "7200"}
        )
    ]
    world.start()
    await ask(world)
    message = await world.event("Failed")
    assert "too many certificates already issued" in message and "staging" in message
    annotations = await world.annotations("web-tls")
    assert annotations[names.FAILURE_REASON] == "rateLimited"
    assert waits(annotations) == timedelta(hours=2)
    # A restart does not forget it; what was prepared is kept for the next attempt.
    world.stop()
    world.start()
    await world.until(lambda: _leading(world, 2))
    assert len(ca.orders) == 1
    assert len(await world.secrets("order")) == 1
    await world.annotate_secret("web-tls", NEXT_ATTEMPT="2020-01-01T00:00:00Z")
    await world.issued("web-tls")


async def test_processing_and_too_early_are_followed(world: World, ca: FakeCa) -> None:
    ca.polls_in_processing, ca.retry_after, ca.order_not_ready = 2, "1", 2
    world.start()
    await ask(world)
    await world.issued("web-tls")
    assert ca.finalized == 1 and len(ca.orders) == 1
    assert await world.events("Failed") == []


@pytest.mark.timeout(600)
async def test_a_ca_that_is_busy_for_minutes_is_looked_at_as_often_as_it_says(world: World, ca: FakeCa) -> None:
    ca.seconds_in_processing, ca.retry_after = PROCESSING, "2"
    world.start()
    await ask(world)
    await world.issued("web-tls", seconds=PROCESSING + 30)
    assert 1 <= ca.looked <= PROCESSING / 2 + 2
    assert ca.finalized == 1 and len(ca.orders) == 1
    assert await world.events("Failed") == []


async def test_two_orders_for_one_set_of_names_are_never_under_way(world: World, ca: FakeCa) -> None:
    ca.polls_in_processing = 2
    world.start()
    secrets = [f"tls{number}" for number in range(3)]
    for secret in secrets:
        await world.client.create(ingress(secret, world.namespace, (secret, HOSTS)))
    pairs = [await world.issued(secret) for secret in secrets]
    assert len({pair.leaf.serial_number for pair in pairs}) == len(ca.orders) == 3
    assert ca.overlapping == 0


async def test_killed_while_the_ca_is_processing(world: World, ca: FakeCa) -> None:
    ca.polls_in_processing, ca.retry_after = 10**6, "1"
    world.start()
    await ask(world)

    async def finalized() -> bool:
        return ca.finalized == 1

    await world.until(finalized)
    world.stop(9)
    for state in ca._state.values():
        state["polls"] = 0
    world.start()
    await world.issued("web-tls")
    assert len(ca.orders) == 1 and ca.finalized == 1, "the order and the key of before were used"


async def leave_order(world: World, ca: FakeCa) -> None:
    """As after a kill between the writing of a certificate and the end of its order."""
    owner = await world.client.get(INGRESS, "web", world.namespace)
    issuers = {"default": Issuer(server=world.server, name="default")}
    settings = Settings(issuers=issuers, namespace=world.namespace, identity="kube-lego-0")
    orders = Orders(world.client)
    pending = await orders.begin(plan([owner], settings)[0][world.namespace, "web-tls"], owner)
    await orders.record(pending, f"{ca.url}/order/0")
    secret = await world.secret("web-tls")
    assert secret is not None
    body = {"data": {"tls.key": secret["data"]["tls.key"]}}
    await world.client.patch(SECRET, pending.name, world.namespace, body)


async def test_an_order_whose_certificate_was_written_is_over_at_the_next_start(world: World, ca: FakeCa) -> None:
    world.start()
    await ask(world)
    await world.issued("web-tls")
    await world.event("Issued")
    world.stop(9)
    await leave_order(world, ca)
    world.start()

    async def none() -> bool:
        return await world.secrets("order") == []

    await world.until(none)
    assert len(ca.orders) == 1


async def test_a_renewal_does_not_go_on_with_the_order_of_the_certificate_that_it_replaces(
    world: World, ca: FakeCa
) -> None:
    world.start()
    await ask(world)
    first = await world.issued("web-tls")
    await world.event("Issued")
    await leave_order(world, ca)
    await world.annotate_secret("web-tls", RENEW_AT="2020-01-01T00:00:00Z")
    second = await world.issued("web-tls", besides=first.leaf.serial_number)
    assert second.key.public_key() != first.key.public_key()


async def test_an_order_that_failed_while_nobody_ran_is_no_failure(world: World, ca: FakeCa) -> None:
    ca.validating = True
    world.start()
    await ask(world)

    async def answered() -> bool:
        return ca.answered == len(HOSTS)

    await world.until(answered)
    world.stop(9)
    # The CA has come and found nobody, and says so only after the next controller looked at the order.
    ca.validating, ca.lost = False, {"0"}
    for state in ca._state.values():
        state["proved"].clear()
    world.start()
    await world.issued("web-tls")
    assert len(ca.orders) == 2
    assert await world.events("Failed") == []


async def test_subproblems_are_told_by_name(world: World, ca: FakeCa) -> None:
    ca.refuse_orders = [
        problem(
            "compound",
            "two names are refused",
            parts=[("a.example.org", "caa", "CAA forbids it"), ("b.example.org", "rejectedIdentifier", "on a list")],
        )
    ]
    world.start()
    await ask(world)
    message = await world.event("Failed")
    assert "a.example.org: CAA forbids it" in message and "b.example.org: on a list" in message
    assert waits(await world.annotations("web-tls")) == timedelta(hours=1)


async def test_a_failed_validation_is_told_and_its_order_given_up(world: World, ca: FakeCa) -> None:
    ca.failing["b.example.org"] = problem("unauthorized", "198.51.100.7: wrong body")
    world.start()
    await ask(world)
    message = await world.event("Failed")
    assert "could not validate b.example.org" in message and "198.51.100.7: wrong body" in message
    assert await world.secrets("order") == []
    assert await world.leftovers() == []


async def test_a_failed_renewal_of_a_short_life_is_tried_again_within_it(world: World, ca: FakeCa) -> None:
    ca.life = timedelta(hours=1)
    world.start()
    await ask(world)
    first = await world.issued("web-tls")
    ca.failing["b.example.org"] = problem("unauthorized", "198.51.100.7: wrong body")
    await world.annotate_secret("web-tls", RENEW_AT="2020-01-01T00:00:00Z")
    await world.event("Failed")
    annotations = await world.annotations("web-tls")
    assert waits(annotations) == timedelta(minutes=5)
    ca.failing.clear()
    await world.annotate_secret("web-tls", NEXT_ATTEMPT="2020-01-01T00:00:00Z")
    await world.issued("web-tls", besides=first.leaf.serial_number)
    assert names.FAILURES not in await world.annotations("web-tls")


async def test_a_chain_that_does_not_hold_is_never_served(world: World, ca: FakeCa) -> None:
    world.start()
    await ask(world)
    first = await world.issued("web-tls")
    ca.wrong_chain = True
    await world.annotate_secret("web-tls", RENEW_AT="2020-01-01T00:00:00Z")
    message = await world.event("Failed", "the one before stays")
    assert "is not signed by" in message
    secret = await world.secret("web-tls")
    assert secret is not None and pair_in(secret).leaf == first.leaf
    assert secret["metadata"]["annotations"][names.FAILURE_REASON] == "brokenChain"


async def test_a_clock_ahead_is_told_and_the_valid_certificate_stays(world: World, ca: FakeCa) -> None:
    world.start()
    await ask(world)
    first = await world.issued("web-tls")
    ca.skew = timedelta(hours=3)
    await world.annotate_secret("web-tls", RENEW_AT="2020-01-01T00:00:00Z")
    message = await world.event("Failed", "begins")
    assert "clock" in message
    secret = await world.secret("web-tls")
    assert secret is not None and pair_in(secret).leaf == first.leaf
    assert len(await world.secrets("order")) == 1  # what was signed is not thrown away


async def test_without_a_certificate_one_that_begins_later_is_better_than_a_placeholder(
    world: World, ca: FakeCa
) -> None:
    ca.skew = timedelta(hours=3)
    world.start()
    await ask(world)
    await world.issued("web-tls")


async def test_a_window_in_the_past_means_now_and_is_not_an_order_a_second(world: World, ca: FakeCa) -> None:
    now = datetime.now(UTC)
    ca.window = (now - timedelta(hours=2), now - timedelta(hours=1))
    ca.skew = timedelta(hours=-12)  # issued half a day ago: the pause after issuance is over
    world.start()
    await ask(world)
    first = await world.issued("web-tls")
    ca.skew = timedelta()
    second = await world.issued("web-tls", besides=first.leaf.serial_number)
    assert ca.orders[-1]["replaces"] == certificate_id(first.leaf)

    async def planned() -> bool:
        return names.ARI_WINDOW in await world.annotations("web-tls")

    await world.until(planned)
    at = parse_timestamp((await world.annotations("web-tls"))[names.RENEW_AT])
    assert at - second.leaf.not_valid_before_utc == timedelta(hours=1)
    assert len(ca.orders) == 2


async def test_a_renewal_that_is_asked_for_while_the_ca_tells_its_window_is_not_forgotten(
    world: World, ca: FakeCa
) -> None:
    ca.window = (datetime.now(UTC) + timedelta(days=50), datetime.now(UTC) + timedelta(days=51))
    ca.window_told.clear()
    world.start()
    await ask(world)
    first = await world.issued("web-tls")
    assert await asyncio.to_thread(ca.window_asked.wait, 20)
    await world.annotate_secret("web-tls", RENEW_AT="2000-01-01T00:00:00Z")
    ca.window_told.set()
    await world.issued("web-tls", besides=first.leaf.serial_number)


@pytest.mark.parametrize("days", [6, 45])
async def test_short_lives_without_a_window(world: World, ca: FakeCa, days: int) -> None:
    ca.life = timedelta(days=days)
    world.start()
    await ask(world)
    pair = await world.issued("web-tls")
    at = parse_timestamp((await world.annotations("web-tls"))[names.RENEW_AT])
    part = (at - pair.leaf.not_valid_before_utc) / timedelta(days=days)
    first = 0.5 if days == 6 else 2 / 3
    assert first - 0.001 <= part <= first + 0.021


async def test_an_order_that_names_a_replaced_certificate_is_placed_without_it(world: World, ca: FakeCa) -> None:
    ca.window = (datetime.now(UTC) + timedelta(days=50), datetime.now(UTC) + timedelta(days=51))
    world.start()
    await ask(world)
    first = await world.issued("web-tls")
    ca.refuse_orders = [problem("alreadyReplaced", "it has a replacement", 409)]

    async def planned() -> bool:
        return names.ARI_WINDOW in await world.annotations("web-tls")

    await world.until(planned)
    await world.annotate_secret("web-tls", RENEW_AT="2020-01-01T00:00:00Z")
    await world.issued("web-tls", besides=first.leaf.serial_number)
    assert "replaces" in ca.orders[-2] and "replaces" not in ca.orders[-1]


async def test_a_server_that_is_not_there_is_tried_again_soon(world: World) -> None:
    world.server = "https://localhost:9/directory"
    world.start()
    await ask(world)
    message = await world.event("Failed")
    assert "does not answer" in message
    assert waits(await world.annotations("web-tls")) == timedelta(seconds=30)


async def _leading(world: World, times: int) -> bool:
    return world.log().count("leading") >= times
