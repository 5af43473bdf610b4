"""Probes of the platform's own pods: quick to say that one is ready, slow to end one on a busy machine."""

from __future__ import annotations

from typing import Any

import pytest
from tests.charts.conftest import at, merge

UPSTREAMS = {"hub", "proxy", "binder"}  # their numbers are the upstream charts' own
EVERYTHING = merge(
    at("kube-lego.enabled", True),
    at("kube-lego.config.LEGO_EMAIL", "someone@example.org"),
    at("redirector.enabled", True),
)


@pytest.fixture(scope="module")
def containers(render: Any) -> dict[str, dict[str, Any]]:
    objects = render(EVERYTHING)
    return {
        name: deployment["spec"]["template"]["spec"]["containers"][0]
        for name, deployment in objects.of_kind("Deployment").items()
    }


def test_nothing_is_ended_before_it_was_silent_for_long(containers: dict[str, dict[str, Any]]) -> None:
    assert len(containers) >= 8, "or this looks at too little"
    for name, container in containers.items():
        probe = container["livenessProbe"]
        timeout, times = probe.get("timeoutSeconds", 1), probe.get("failureThreshold", 3)
        assert timeout * times >= 30, (name, probe)
        if name not in UPSTREAMS:
            assert (timeout >= 5, times >= 6) == (True, True), (name, probe)


def test_readiness_is_seen_soon_and_not_lost_by_one_slow_answer(containers: dict[str, dict[str, Any]]) -> None:
    for name, container in containers.items():
        probe = container["readinessProbe"]
        assert probe["periodSeconds"] <= 5 and probe.get("initialDelaySeconds", 0) == 0, (name, probe)
        assert probe.get("timeoutSeconds", 1) * probe.get("failureThreshold", 3) >= 60, (name, probe)
