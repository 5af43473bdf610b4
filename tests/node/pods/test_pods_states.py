"""Back-off, probes, status: state machines, without time passing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from binderops.node.pods.actions import Outcome, port_of
from binderops.node.pods.probes import Prober, Threshold
from binderops.node.pods.records import Record
from binderops.node.pods.restarts import BackOff, restarts_after
from binderops.node.pods.status import PodFacts, View, phase, pod_status
from binderops.node.pods.stopping import patience
from binderops.node.pods.units import Unit, end_of_log


def test_back_off_doubles_to_its_limit_and_is_forgotten() -> None:
    backoff, now, waits = BackOff(), 1000.0, []
    for _ in range(8):
        waits.append(backoff.remaining(now, now))
        now += waits[-1]
        backoff.advance(now)
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]
    assert backoff.remaining(now, now + 299) == 1
    assert backoff.remaining(now + 601, now + 601) == 0
    backoff.advance(now + 601)
    assert backoff.delay == 10


def test_back_off_is_forgotten_for_what_ran_ten_minutes_not_for_what_has_waited_them() -> None:
    backoff = BackOff(delay=300.0, updated=1000.0)
    assert backoff.remaining(1599, 1601) == 298, "it ran for less than ten minutes"
    backoff.advance(1899, ended=1599)
    assert backoff.delay == 300
    assert backoff.remaining(2500, 2500) == 0, "and here for more"
    backoff.advance(2500, ended=2500)
    assert backoff.delay == 10


@pytest.mark.parametrize(
    ("by_probe", "previous_ran_before", "waits"),
    [(False, 3600.0, True), (False, None, True), (True, 3600.0, False), (True, None, False), (True, 15.0, True)],
)
def test_what_a_probe_ended_starts_at_once_if_it_ran_a_back_off(
    by_probe: bool, previous_ran_before: float | None, waits: bool
) -> None:
    now = datetime.now(UTC)
    ended = view(record("exited", 143, attempt=1)._replace(finished_at=now))
    if previous_ran_before is not None:
        before = now - timedelta(seconds=previous_ran_before)
        ended.previous = record("exited", 143)._replace(finished_at=before)
    unit = Unit(ended, ended_by_probe=by_probe, backoff=BackOff(delay=20.0, updated=time.monotonic() - 5))
    assert (unit.seconds_until_restart() > 0) is waits


def test_a_back_off_goes_by_while_the_machines_clock_is_set_back() -> None:
    unit = Unit(view(record("exited", 1)._replace(finished_at=datetime.now(UTC) + timedelta(days=1))))
    unit.backoff = BackOff(delay=0.05, updated=time.monotonic())
    assert 0 < unit.seconds_until_restart() < 0.06
    time.sleep(0.06)
    assert unit.seconds_until_restart() == 0


def test_a_first_end_is_followed_by_a_start_at_once() -> None:
    for code in (0, 1, 143):
        assert Unit(view(record("exited", code)._replace(finished_at=datetime.now(UTC)))).seconds_until_restart() == 0


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 1, False),
    ],
)
def test_restart_policy(policy: str, code: int, again: bool) -> None:
    assert restarts_after(policy, code) is again


def test_thresholds() -> None:
    threshold = Threshold(success=2, failure=3, good=False)
    results = [True, False, True, True, False, False, True, False, False, False]
    reached = [(threshold.observe(ok), threshold.good) for ok in results]
    assert [index for index, (told, _) in enumerate(reached) if told] == [3, 9]
    assert reached[3][1] is True and reached[9][1] is False


class Script:
    """Answers of a probe, by its handler's name; the last one repeats."""

    def __init__(self, **answers: list[bool]) -> None:
        self.answers = answers
        self.seen: list[tuple[str, bool]] = []
        self.complaints = 0

    async def perform(self, probe: Mapping[str, Any], timeout: float) -> Outcome:
        await asyncio.sleep(0)
        left = self.answers[probe["name"]]
        return Outcome(left.pop(0) if len(left) > 1 else left[0], "no")

    def report(self, kind: str, good: bool, message: str) -> None:
        self.seen.append((kind, good))

    def complain(self, kind: str, message: str) -> None:
        self.complaints += 1


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def probe(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "periodSeconds": 0.02, "failureThreshold": 2, **more}


async def test_readiness_follows_its_threshold() -> None:
    script = Script(ready=[True, True, False, False, False, True])
    prober = Prober({"readinessProbe": probe("ready")}, script.perform, script.report, script.complain)
    assert (prober.started, prober.ready) == (True, False)
    task = asyncio.create_task(prober.run())
    await until(lambda: len(script.seen) == 3)
    task.cancel()
    assert script.seen == [("readiness", True), ("readiness", False), ("readiness", True)]
    assert prober.ready is True
    assert script.complaints >= 2


async def test_startup_holds_the_others_back() -> None:
    script = Script(start=[False, False, True], alive=[True, False, False])
    container = {"startupProbe": probe("start", failureThreshold=9), "livenessProbe": probe("alive")}
    prober = Prober(container, script.perform, script.report, script.complain)
    before = prober.started
    await asyncio.wait_for(prober.run(), 5)
    assert (before, prober.started) == (False, True)
    assert script.seen == [("startup", True), ("liveness", False)]


async def test_startup_that_never_comes() -> None:
    script = Script(start=[False])
    prober = Prober({"startupProbe": probe("start")}, script.perform, script.report, script.complain)
    await asyncio.wait_for(prober.run(), 5)
    assert script.seen == [("startup", False)] and not prober.started


async def test_quick_tries_do_not_count() -> None:
    script = Script(ready=[False])
    slow = probe("ready", periodSeconds=60)
    prober = Prober({"readinessProbe": slow}, script.perform, script.report, script.complain)
    task = asyncio.create_task(prober.run())
    await asyncio.sleep(0.25)
    task.cancel()
    assert script.complaints == 0 and script.seen == []


@pytest.mark.parametrize(("port", "number"), [(80, 80), ("81", 81), ("web", 8080)])
def test_ports(port: int | str, number: int) -> None:
    assert port_of(port, {"ports": [{"name": "web", "containerPort": 8080}]}) == number


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(state: str, code: int = 0, *, name: str = "c", attempt: int = 0) -> Record:
    return Record(
        id=f"id-{name}",
        pod_uid="u",
        container=name,
        attempt=attempt,
        state=state,  # type: ignore[arg-type]
        exit_code=code,
        oom_killed=False,
        error="",
        started_at=NOW,
        finished_at=NOW if state == "exited" else None,
        image_id="i",
        log="",
    )


def facts(**more: Any) -> PodFacts:
    base = {"host_address": "h", "address": "a", "start_time": "t", "network_ready": True, "initialized": True}
    return PodFacts(**{**base, **more})


def pod(policy: str = "Always") -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"restartPolicy": policy}}


def view(found: Record | None, role: Any = "app", **more: Any) -> View:
    name = found.container if found else "c"
    return View({"name": name, "image": "x"}, role, record=found, **more)


@pytest.mark.parametrize(
    ("policy", "views", "more", "expected"),
    [
        ("Always", [view(None)], {}, "Pending"),
        ("Always", [view(record("running"))], {}, "Running"),
        ("Always", [view(record("exited"))], {}, "Running"),
        ("Never", [view(record("exited"))], {}, "Succeeded"),
        ("Never", [view(record("exited", 1))], {}, "Failed"),
        ("Never", [view(record("exited", 1)), view(record("running", name="d"))], {}, "Running"),
        ("OnFailure", [view(record("exited", 1))], {}, "Running"),
        ("OnFailure", [view(record("exited"))], {}, "Succeeded"),
        ("Never", [view(record("exited")), view(record("running", name="s"), "sidecar")], {}, "Succeeded"),
        ("Never", [view(record("exited", 1), "init"), view(None)], {"initialized": False}, "Failed"),
        ("Always", [view(record("exited", 1), "init"), view(None)], {"initialized": False}, "Pending"),
        ("Always", [view(record("exited"))], {"failure": ("Evicted", "m")}, "Failed"),
        ("Always", [view(record("running"))], {"failure": ("Evicted", "m"), "ending": True}, "Running"),
        ("Always", [view(None)], {"failure": ("Evicted", "m"), "ending": True}, "Pending"),
    ],
)
def test_phase(policy: str, views: list[View], more: dict[str, Any], expected: str) -> None:
    assert phase(pod(policy), views, facts(**more)) == expected


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in status["conditions"]}


def test_a_ready_pod() -> None:
    status = pod_status(pod(), [view(record("running"), ready=True, started=True, digest="d")], facts())
    assert set(conditions(status).values()) == {"True"} and len(status["conditions"]) == 5
    container = status["containerStatuses"][0]
    assert container["ready"] and container["started"] and container["imageID"] == "d"
    assert container["state"] == {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    assert status["podIP"] == "a" and status["qosClass"] == "BestEffort"


def test_a_crashing_pod() -> None:
    crashed = view(record("exited", 1, attempt=3), waiting=("CrashLoopBackOff", "back-off"), message="oops")
    status = pod_status(pod(), [crashed], facts())
    container = status["containerStatuses"][0]
    assert container["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    assert container["lastState"]["terminated"]["message"] == "oops"
    assert container["restartCount"] == 3
    assert conditions(status)["Ready"] == "False"


def test_foreign_conditions_and_gates_are_kept() -> None:
    made = pod()
    made["spec"]["readinessGates"] = [{"conditionType": "example.org/gate"}]
    made["status"] = {"conditions": [{"type": "example.org/gate", "status": "False"}]}
    views = [view(record("running"), ready=True)]
    status = pod_status(made, views, facts())
    assert conditions(status)["Ready"] == "False" and conditions(status)["ContainersReady"] == "True"
    made["status"]["conditions"][0]["status"] = "True"
    assert conditions(pod_status(made, views, facts(), before=status))["Ready"] == "True"


def test_transition_times_stay_while_nothing_changes() -> None:
    views = [view(record("running"), ready=True)]
    first = pod_status(pod(), views, facts())
    for entry in first["conditions"]:
        entry["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    assert pod_status(pod(), views, facts(), before=first) == first


def test_the_end_of_a_log_joins_the_parts_of_lines(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    early = [f"T stdout F {number}" for number in range(100)]
    log.write_text("\n".join([*early, "T stdout P a", "T stdout P b", "T stdout F c", "T stderr F ", "T stderr P end"]))
    text = end_of_log(log)
    assert text.endswith("\n99\nabc\n\nend")
    assert text.count("\n") == 79
    log.write_bytes(b"T stdout F " + b"x" * 5000 + b"\n")
    assert end_of_log(log) == "x" * 2047 + "\n"
    assert end_of_log(tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("config", "status", "seconds"),
    [
        ({}, None, 10),
        ({"StopTimeout": 30}, "SigBlk:\t0000000000000000\nSigCgt:\t0000000000004000\n", 10),
        ({"StopTimeout": 3}, "SigBlk:\t0000000000004000\nSigCgt:\t0000000000000000\n", 3),
        ({"StopTimeout": 30}, "SigBlk:\t0000000000000000\nSigCgt:\t0000000000010000\n", 0),
        ({"StopSignal": 3}, "SigBlk:\t0000000000000000\nSigCgt:\t0000000000004000\n", 0),
        ({"StopSignal": "SIGQUIT"}, "SigBlk:\t0000000000000000\nSigCgt:\t0000000000000004\n", 10),
        ({}, "no such thing\n", 10),
    ],
)
def test_nobody_waits_for_a_process_that_hears_no_signal(
    tmp_path: Path, config: dict[str, Any], status: str | None, seconds: int
) -> None:
    (tmp_path / "7").mkdir()
    if status is not None:
        (tmp_path / "7" / "status").write_text(status)
    assert patience({"Config": config, "State": {"Pid": 7}}, proc=tmp_path) == seconds
    assert patience({}) == 10
