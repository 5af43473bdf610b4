"""Jobs and schedules: decisions by tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from binderops.node.controllers import jobplan
from binderops.node.controllers.cronjobs import job_for, latest_due
from binderops.node.controllers.schedules import parse_schedule


def job(*, start_age: float = 60, restart: str = "Never", conditions: Any = (), **spec: Any) -> dict[str, Any]:
    start = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC) - timedelta(seconds=start_age)
    return {
        "metadata": {"name": "j", "namespace": "x", "uid": "j"},
        "spec": {"completions": 1, "parallelism": 1, "template": {"spec": {"restartPolicy": restart}}, **spec},
        "status": {"startTime": start.strftime("%Y-%m-%dT%H:%M:%SZ"), "conditions": list(conditions)},
    }


def reasons(plan: jobplan.Plan) -> list[tuple[str, str]]:
    return [(entry["type"], entry["reason"]) for entry in plan.conditions]


def test_a_job_starts_its_pods(now: datetime) -> None:
    assert jobplan.plan(job(), [], now).create == 1
    assert jobplan.plan(job(completions=5, parallelism=3), [], now).create == 3
    assert jobplan.plan(job(completions=None, parallelism=2), [], now).create == 2
    assert jobplan.plan(job(completions=0), [], now).conditions
    assert jobplan.plan(job(completions=100, parallelism=100), [], now).create == jobplan.BURST


def test_a_job_ends_when_enough_have_succeeded(pod: Any, now: datetime) -> None:
    done = pod("a", phase="Succeeded", ready=False)
    plan = jobplan.plan(job(), [done], now)
    assert reasons(plan) == [("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]
    assert jobplan.plan(job(completions=3, parallelism=3), [done], now).create == 2
    working = pod("b")
    assert jobplan.plan(job(completions=None, parallelism=2), [done, working], now).create == 0
    assert reasons(jobplan.plan(job(completions=None, parallelism=2), [done], now))


def test_failures_back_off_then_fail_the_job(pod: Any, now: datetime) -> None:
    failed = [pod(f"f{n}", phase="Failed", ready=False, age=5) for n in range(3)]
    first = jobplan.plan(job(backoffLimit=6), failed[:1], now)
    assert (first.create, first.look_again) == (0, 5.0)
    assert jobplan.plan(job(backoffLimit=6), failed, now).look_again == 35.0
    assert reasons(jobplan.plan(job(backoffLimit=2), failed, now)) == [
        ("FailureTarget", "BackoffLimitExceeded"),
        ("Failed", "BackoffLimitExceeded"),
    ]


def test_a_failed_job_is_failed_only_when_its_pods_are_gone(pod: Any, now: datetime) -> None:
    failed, running = pod("f", phase="Failed", ready=False), pod("r")
    plan = jobplan.plan(job(backoffLimit=0, parallelism=2, completions=2), [failed, running], now)
    assert (list(plan.delete), reasons(plan)) == ([running], [("FailureTarget", "BackoffLimitExceeded")])
    going = pod("r", deleting=True)
    assert reasons(jobplan.plan(job(backoffLimit=0), [failed, going], now)) == [
        ("FailureTarget", "BackoffLimitExceeded")
    ]


@pytest.mark.parametrize(("limit", "restarts", "over"), [(0, 0, False), (0, 1, True), (3, 2, False), (3, 3, True)])
def test_restarts_count_with_on_failure(pod: Any, now: datetime, limit: int, restarts: int, over: bool) -> None:
    running = pod("r", containerStatuses=[{"restartCount": restarts}])
    plan = jobplan.plan(job(restart="OnFailure", backoffLimit=limit), [running], now)
    assert bool(plan.conditions) is over
    assert not jobplan.plan(job(restart="Never", backoffLimit=limit), [running], now).conditions


def test_a_deadline_ends_a_job(pod: Any, now: datetime) -> None:
    running = pod("r")
    assert jobplan.plan(job(activeDeadlineSeconds=90), [running], now).look_again == 30.0
    plan = jobplan.plan(job(activeDeadlineSeconds=60), [running], now)
    assert (list(plan.delete), reasons(plan)) == ([running], [("FailureTarget", "DeadlineExceeded")])


def test_a_suspended_job_has_no_pods(pod: Any, now: datetime) -> None:
    running = pod("r")
    plan = jobplan.plan(job(suspend=True), [running], now)
    assert (list(plan.delete), reasons(plan)) == ([running], [("Suspended", "JobSuspended")])
    resumed = jobplan.plan(job(conditions=[{"type": "Suspended", "status": "True"}]), [], now)
    assert (resumed.create, reasons(resumed)) == (1, [("Suspended", "JobResumed")])


def test_what_is_not_supported_is_named() -> None:
    assert jobplan.unsupported(job(podFailurePolicy={"rules": []} | {"x": 1})) == "spec.podFailurePolicy"
    assert "Indexed" in jobplan.unsupported(job(completionMode="Indexed"))
    assert jobplan.unsupported(job(completionMode="NonIndexed")) == ""


@pytest.mark.parametrize(
    ("text", "zone", "after"),
    [
        ("*/5 * * * *", None, "2026-05-01T12:05:00"),
        ("0 0 * * *", None, "2026-05-02T00:00:00"),
        ("@hourly", None, "2026-05-01T13:00:00"),
        ("0 8 * * mon-fri", "Europe/Zurich", "2026-05-04T06:00:00"),
        ("30 2 29 FEB ?", None, "2028-02-29T02:30:00"),
        ("15,45 * * * *", "America/New_York", "2026-05-01T12:15:00"),
    ],
)
def test_schedules(text: str, zone: str | None, after: str, now: datetime) -> None:
    schedule = parse_schedule(text, zone)
    upcoming = schedule.after(now)
    assert upcoming == datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert schedule.at_or_before(upcoming) == upcoming
    before = schedule.at_or_before(upcoming - timedelta(seconds=1))
    assert before is not None
    assert before < upcoming
    assert schedule.after(before) == upcoming


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("* * * *", None),
        ("* * * * * *", None),
        ("60 * * * *", None),
        ("0 0 L * *", None),
        ("0 0 * * 5#2", None),
        ("@every 5m", None),
        ("TZ=UTC 0 0 * * *", None),
        ("0 0 * * *", "Mars/Base"),
        ("0 0 * * *", "../../etc/passwd"),
        ("", None),
        ("*/0 * * * *", None),
    ],
)
def test_schedules_that_are_refused(text: str, zone: str | None) -> None:
    with pytest.raises(ValueError, match=r"schedule|time zone"):
        parse_schedule(text, zone)


def test_a_schedule_that_never_comes(now: datetime) -> None:
    with pytest.raises(ValueError, match="schedule"):
        parse_schedule("0 0 31 2 *").after(now)


def cron_job(created: str, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c", "namespace": "x", "uid": "u", "creationTimestamp": created},
        "spec": {"schedule": "*/10 * * * *", "jobTemplate": template, **spec},
        "status": {},
    }


@pytest.mark.parametrize(
    ("created", "last", "deadline", "due", "missed"),
    [
        ("2026-05-01T11:55:00Z", None, None, "2026-05-01T12:00:00", False),
        ("2026-05-01T11:55:00Z", "2026-05-01T12:00:00Z", None, None, False),
        ("2026-05-01T11:00:00Z", "2026-05-01T11:30:00Z", None, "2026-05-01T12:00:00", False),
        ("2026-04-01T11:00:00Z", None, None, "2026-05-01T12:00:00", True),
        ("2026-04-01T11:00:00Z", None, 200, "2026-05-01T12:00:00", False),
        # The clock was days ahead when it last ran: it runs again from now on, not in days.
        ("2026-04-01T11:00:00Z", "2026-05-04T12:00:00Z", None, "2026-05-01T12:00:00", False),
    ],
)
def test_what_is_due(
    now: datetime, created: str, last: str | None, deadline: int | None, due: str | None, missed: bool
) -> None:
    made = cron_job(created, startingDeadlineSeconds=deadline)
    if last:
        made["status"]["lastScheduleTime"] = last
    expected = datetime.fromisoformat(due).replace(tzinfo=UTC) if due else None
    assert latest_due(made, parse_schedule("*/10 * * * *"), now) == (expected, missed)


def test_one_time_has_one_job(now: datetime) -> None:
    first, second = (job_for(cron_job("2026-05-01T11:55:00Z"), now) for _ in range(2))
    assert first == second
    assert first["metadata"]["name"] == f"c-{int(now.timestamp()) // 60}"
    assert first["metadata"]["ownerReferences"][0]["controller"] is True
