"""A pull that no waiting will mend fails a deployment within seconds; one that may mend itself is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from binderops.delivery.pulls import FAILING_SECONDS, REFUSED_SECONDS, FailingPulls
from binderops.delivery.readiness import Assessment, Verdict, assess_pod

# As Podman 4.3 and the kubelet of 1.32 word them.
UNKNOWN_HOST = (
    "initializing source docker://nosuch.invalid/x:1: pinging container registry nosuch.invalid: "
    'Get "https://nosuch.invalid/v2/": dial tcp: lookup nosuch.invalid: no such host'
)
UNKNOWN_IMAGE = "initializing source docker://r.example/x:1: reading manifest 1 in r.example/x: manifest unknown"
UNAUTHORIZED = "reading manifest 1 in r.example/x: unauthorized: authentication required"
DENIED = "requested access to the resource is denied"
NO_LISTENER = "pinging container registry r.example: dial tcp 192.0.2.1:443: connect: connection refused"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def unpulled(message: str, *, reason: str = "ErrImagePull") -> Assessment:
    container: dict[str, Any] = {
        "name": "nginx",
        "image": "some/image:1",
        "state": {"waiting": {"reason": reason, "message": message}},
    }
    return assess_pod({"metadata": {"name": "p"}, "status": {"containerStatuses": [container]}})


def backing_off(message: str) -> Assessment:
    return unpulled(f'Back-off pulling image "some/image:1": {message}', reason="ImagePullBackOff")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (UNKNOWN_HOST, "no such registry"),
        (UNKNOWN_IMAGE, "no such image"),
        (UNAUTHORIZED, "imagePullSecret"),
        (DENIED, "imagePullSecret"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "caCertificates"),
        ("no image found in manifest list for architecture arm64", "this machine"),
    ],
)  # fmt: skip
def test_what_a_registry_refuses_fails_soon(message: str, words: str) -> None:
    clock = Clock()
    pulls = FailingPulls(clock)
    assert pulls.judged(unpulled(message)).verdict is Verdict.WAITING
    clock.now += REFUSED_SECONDS
    found = pulls.judged(backing_off(message))
    assert (found.verdict, "some/image:1" in found.reason, message in found.reason) == (Verdict.FAILED, True, True)
    assert words in (found.hint or "")
    assert REFUSED_SECONDS < 30


def test_what_may_mend_itself_is_tried_four_times() -> None:
    clock = Clock()
    pulls = FailingPulls(clock)
    pulls.judged(unpulled(NO_LISTENER))
    clock.now += FAILING_SECONDS - 1
    assert pulls.judged(unpulled(NO_LISTENER)).verdict is Verdict.WAITING
    clock.now += 1
    assert pulls.judged(unpulled(NO_LISTENER)).verdict is Verdict.FAILED


def test_a_failing_pull_is_one_line_through_its_back_off() -> None:
    pulls = FailingPulls(Clock())
    assert pulls.judged(unpulled(NO_LISTENER)).reason == pulls.judged(backing_off(NO_LISTENER)).reason
    silent = unpulled('Back-off pulling image "some/image:1"', reason="ImagePullBackOff")
    assert NO_LISTENER in pulls.judged(silent).reason


def test_what_is_no_pull_is_left_as_it_is() -> None:
    other = Assessment(Verdict.WAITING, "runs, but its probe has not passed")
    assert FailingPulls(Clock()).judged(other) is other
