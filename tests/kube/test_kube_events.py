"""The event recorder: one Event for many repeats, and never an error."""

from __future__ import annotations

import json
from typing import Any

from binderops.kube.client import Client
from binderops.kube.events import BURST, EventRecorder

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "x", "uid": "1"}}
EVENTS = "/api/v1/namespaces/x/events"


async def test_repeats_are_counted(client: Client, script: Any) -> None:
    script.answers["POST", EVENTS] = (201, {"metadata": {"name": "a.1"}})
    script.answers["PATCH", f"{EVENTS}/a.1"] = (200, {})
    recorder = EventRecorder(client, "tests")
    for _ in range(3):
        await recorder.event(POD, "Failed", "it failed", "Warning")
    await recorder.event(POD, "Failed", "it failed differently", "Warning")
    assert [request[0] for request in script.requests] == ["POST", "PATCH", "PATCH", "POST"]
    made = json.loads(script.requests[0][3])
    assert made["involvedObject"] == {"apiVersion": "v1", "kind": "Pod", "name": "a", "namespace": "x", "uid": "1"}
    assert (made["type"], made["count"], made["source"]) == ("Warning", 1, {"component": "tests"})
    assert json.loads(script.requests[2][3])["count"] == 3


async def test_one_that_expired_is_made_again(client: Client, script: Any) -> None:
    script.answers["POST", EVENTS] = (201, {"metadata": {"name": "a.1"}})
    recorder = EventRecorder(client, "tests")
    await recorder.event(POD, "A", "b")
    await recorder.event(POD, "A", "b")
    assert [request[0] for request in script.requests] == ["POST", "PATCH", "POST"]


async def test_an_event_that_is_refused_is_no_error(client: Client, script: Any) -> None:
    script.answers["POST", EVENTS] = (403, {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"})
    await EventRecorder(client, "tests").event(POD, "A", "x" * 5000)
    assert len(json.loads(script.requests[0][3])["message"]) == 1024


async def test_an_object_with_too_much_to_say_falls_silent(client: Client, script: Any) -> None:
    script.answers["POST", EVENTS] = (201, {"metadata": {"name": "a.1"}})
    recorder = EventRecorder(client, "tests")
    for number in range(BURST + 10):
        await recorder.event(POD, "Created", f"pod {number}")
    assert len(script.requests) == BURST
    other = {**POD, "metadata": {**POD["metadata"], "uid": "2"}}  # type: ignore[dict-item]
    await recorder.event(other, "Created", "another object is heard")
    assert len(script.requests) == BURST + 1
