"""What the commands that look around print."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.delivery.looking import pods_status, words_of
from binderops.kube.objects import timestamp


async def said(*chunks: bytes) -> bytes:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return b"".join([words async for words in words_of(stream())])


@given(st.lists(st.integers(0, 200), max_size=4))
async def test_a_builds_log_is_its_words_however_it_is_cut(cuts: list[int]) -> None:
    log = b'{"message": "Step 1\\n", "phase": "building"}\n{"message": "\xc3\xa4"}\nno JSON\n{"phase": "x"}\n[1]'
    places = [0, *sorted(cuts), len(log)]
    pieces = [log[start:end] for start, end in pairwise(places)]
    assert await said(*pieces) == b'Step 1\n\xc3\xa4\nno JSON\n{"phase": "x"}\n[1]\n'


def made(name: str, phase: str, *, owner: str = "", ready: bool = False, **status: Any) -> dict[str, Any]:
    owners = [{"kind": "Job", "name": owner, "uid": owner, "controller": True}] if owner else []
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "metadata": {"name": name, "namespace": "n", "ownerReferences": owners},
        "spec": {"containers": [{"name": "main"}]},
        "status": {"phase": phase, "conditions": conditions, **status},
    }


def entry(state: dict[str, Any], *, ready: bool = False, restarts: int = 0) -> dict[str, Any]:
    container = {"name": "main", "state": state, "ready": ready, "restartCount": restarts}
    return {"containerStatuses": [container]}


RUNS = entry({"running": {}}, ready=True)
DONE = entry({"terminated": {"reason": "Completed", "exitCode": 0}})
BROKE = entry({"terminated": {"reason": "Error", "exitCode": 3}})


@pytest.mark.parametrize(
    ("pods", "shown"),
    [
        ([made("hub", "Running", ready=True, **RUNS)], [("hub", "1/1", "Running", True, "")]),
        ([made("job-a", "Succeeded", **DONE)], [("job-a", "0/1", "Completed", True, "")]),
        ([made("job-a", "Failed", **BROKE)], [("job-a", "0/1", "Error", False, "pod job-a failed: ")]),
        (
            [made("hub", "Failed", reason="Evicted", message="it took the disk")],
            [("hub", "0/1", "Evicted", False, "pod hub failed: it took the disk")],
        ),
        (
            [made("job-a", "Failed", owner="job", **BROKE), made("job-b", "Succeeded", owner="job", **DONE)],
            [("job-a", "0/1", "Error", True, "pod job-a failed: "), ("job-b", "0/1", "Completed", True, "")],
        ),
        (
            [made("job-a", "Failed", owner="job", **BROKE), made("other", "Succeeded", owner="other", **DONE)],
            [("job-a", "0/1", "Error", False, "pod job-a failed: "), ("other", "0/1", "Completed", True, "")],
        ),
        (
            [made("hub", "Running", **entry({"waiting": {"reason": "CrashLoopBackOff"}}, restarts=2))],
            [("hub", "0/1", "CrashLoopBackOff", False, "pod hub waits: CrashLoopBackOff")],
        ),
    ],
)
def test_a_pod_is_shown_as_kubectls_users_know_it(pods: list[dict[str, Any]], shown: list[Any]) -> None:
    found = pods_status(pods)
    assert [(pod.name, pod.containers, pod.status, pod.well, pod.reason) for pod in found] == shown


@pytest.mark.parametrize(("ago", "well"), [(-20, True), (5, True), (60, False)])
def test_a_pod_that_is_on_its_way_out_says_so(ago: int, well: bool) -> None:
    """Nobody has to look after one that goes, such as the server of a proof that is over; one that stays is told."""
    pod = made("hub", "Running", **entry({"running": {}}))
    pod["metadata"]["deletionTimestamp"] = timestamp(datetime.now(UTC) - timedelta(seconds=ago))
    (found,) = pods_status([pod])
    shown = (found.containers, found.status, found.ready, found.well, found.reason)
    assert shown == ("0/1", "Terminating", False, well, "pod hub is being ended")
