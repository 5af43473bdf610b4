"""What to do about a Job: decisions only, no requests. The rules are those of Kubernetes' Job controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from binderops.kube.kinds import Object
from binderops.kube.objects import (
    condition,
    conditions_of,
    is_deleting,
    metadata_of,
    parse_timestamp,
    spec_of,
    status_of,
)
from binderops.node.controllers.workloads import created, is_active, is_ready

FIRST_BACKOFF_SECONDS = 10.0
LONGEST_BACKOFF_SECONDS = 600.0
BURST = 16


class Plan(NamedTuple):
    """Pods to create and to delete, conditions to set, and the seconds after which to look again."""

    create: int = 0
    delete: Sequence[Object] = ()
    conditions: Sequence[Object] = ()
    look_again: float | None = None


def unsupported(job: Object) -> str:
    """The field that is not supported here, or ""."""
    spec = spec_of(job)
    if spec.get("podFailurePolicy"):
        return "spec.podFailurePolicy"
    if spec.get("successPolicy"):
        return "spec.successPolicy"
    if spec.get("completionMode") == "Indexed":
        return "spec.completionMode: Indexed"
    if spec.get("managedBy") not in (None, "", "kubernetes.io/job-controller"):
        return "spec.managedBy"
    return ""


def is_finished(job: Object) -> bool:
    """Whether the Job is Complete or Failed."""
    return finish_condition(job) is not None


def finish_condition(job: Object) -> Object | None:
    """The condition that ended the Job, if any."""
    return next(
        (e for e in conditions_of(job) if e.get("type") in ("Complete", "Failed") and e.get("status") == "True"), None
    )


def finished_at(job: Object) -> datetime | None:
    """When the Job ended, or None."""
    entry = finish_condition(job)
    return parse_timestamp(entry["lastTransitionTime"]) if entry and entry.get("lastTransitionTime") else None


def counts(pods: Sequence[Object]) -> Object:
    """The counts of the status."""
    active = [pod for pod in pods if is_active(pod)]
    return {
        "active": len(active),
        "ready": sum(is_ready(pod) for pod in active),
        "terminating": sum(is_deleting(pod) and not _phase(pod, "Succeeded", "Failed") for pod in pods),
        "succeeded": sum(_phase(pod, "Succeeded") for pod in pods),
        "failed": sum(_is_failed(pod) for pod in pods),
    }


def plan(job: Object, pods: Sequence[Object], now: datetime) -> Plan:
    """The next step of a Job that is not finished."""
    spec = spec_of(job)
    active = [pod for pod in pods if is_active(pod)]
    failed = [pod for pod in pods if _is_failed(pod)]
    succeeded = sum(_phase(pod, "Succeeded") for pod in pods)
    reason, message = _failure(job, active, failed, now)
    if reason:
        return _fail(reason, message, active, pods)
    if _is_complete(spec, succeeded, active):
        if active:
            return Plan(delete=active)
        return Plan(conditions=_complete())
    if spec.get("suspend"):
        suspended = {"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}
        return Plan(delete=active, conditions=[suspended])
    conditions = []
    if (condition(job, "Suspended") or {}).get("status") == "True":
        conditions = [{"type": "Suspended", "status": "False", "reason": "JobResumed", "message": "Job resumed"}]
    wanted = wanted_active(spec, succeeded, len(active))
    deadline = seconds_to_deadline(job, now)
    if len(active) > wanted:
        surplus = sorted(active, key=lambda pod: (is_ready(pod), created(pod)))[: len(active) - wanted]
        return Plan(delete=surplus, conditions=conditions, look_again=deadline)
    delay = backoff_seconds(failed, now)
    if delay > 0 and len(active) < wanted:
        return Plan(conditions=conditions, look_again=min(delay, deadline or delay))
    missing = wanted - len(active)
    return Plan(min(missing, BURST), (), conditions, 0.05 if missing > BURST else deadline)


def wanted_active(spec: Mapping[str, Any], succeeded: int, active: int) -> int:
    """How many pods should run now."""
    parallelism = 1 if spec.get("parallelism") is None else int(spec["parallelism"])
    completions = spec.get("completions")
    if completions is None:  # a work queue: once one has succeeded, no new ones
        return active if succeeded else parallelism
    return max(0, min(parallelism, int(completions) - succeeded))


def backoff_seconds(failed: Sequence[Object], now: datetime) -> float:
    """How long to wait before the next pod: 10 s after the first failure, doubling, at most ten minutes."""
    ends = [end for pod in failed if (end := _ended(pod)) is not None]
    if not ends:
        return 0.0
    delay = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(len(failed) - 1, 10), LONGEST_BACKOFF_SECONDS)
    return max(0.0, delay - (now - max(ends)).total_seconds())


def seconds_to_deadline(job: Object, now: datetime) -> float | None:
    """How long the Job may still run, or None without activeDeadlineSeconds."""
    limit, start = spec_of(job).get("activeDeadlineSeconds"), status_of(job).get("startTime")
    if limit is None or not start or spec_of(job).get("suspend"):
        return None
    return max(0.01, int(limit) - (now - parse_timestamp(start)).total_seconds())


def _failure(job: Object, active: Sequence[Object], failed: Sequence[Object], now: datetime) -> tuple[str, str]:
    target = condition(job, "FailureTarget")
    if target is not None and target.get("status") == "True":
        return str(target.get("reason")), str(target.get("message"))
    limit = spec_of(job).get("backoffLimit")
    limit = 6 if limit is None else int(limit)
    restarts = sum(_restarts(pod) for pod in active)
    on_failure = (spec_of(spec_of(job).get("template") or {})).get("restartPolicy") == "OnFailure"
    past = on_failure and (restarts > 0 if limit == 0 else restarts >= limit)
    if past or len(failed) > limit:
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    start, seconds = status_of(job).get("startTime"), spec_of(job).get("activeDeadlineSeconds")
    if seconds is None or not start or spec_of(job).get("suspend"):
        return "", ""
    if (now - parse_timestamp(start)).total_seconds() < int(seconds):
        return "", ""
    return "DeadlineExceeded", "Job was active longer than specified deadline"


def _fail(reason: str, message: str, active: Sequence[Object], pods: Sequence[Object]) -> Plan:
    """First the pods go, then the Job is Failed: who sees Failed may start anew without two running at once."""
    entry = {"status": "True", "reason": reason, "message": message}
    conditions = [{"type": "FailureTarget", **entry}]
    if not active and not any(is_deleting(pod) and not _phase(pod, "Succeeded", "Failed") for pod in pods):
        conditions.append({"type": "Failed", **entry})
    return Plan(delete=active, conditions=conditions)


def _complete() -> list[Object]:
    text = "Reached expected number of succeeded pods"
    entry = {"status": "True", "reason": "CompletionsReached", "message": text}
    return [{"type": "SuccessCriteriaMet", **entry}, {"type": "Complete", **entry}]


def _is_complete(spec: Mapping[str, Any], succeeded: int, active: Sequence[Object]) -> bool:
    if spec.get("completions") is None:
        return succeeded > 0 and not active
    return succeeded >= int(spec["completions"])


def _is_failed(pod: Object) -> bool:
    return _phase(pod, "Failed")


def _phase(pod: Object, *phases: str) -> bool:
    return status_of(pod).get("phase") in phases


def _restarts(pod: Object) -> int:
    statuses = [*(status_of(pod).get("initContainerStatuses") or ()), *(status_of(pod).get("containerStatuses") or ())]
    return sum(int(entry.get("restartCount") or 0) for entry in statuses)


def _ended(pod: Object) -> datetime | None:
    ends = [
        entry["state"]["terminated"]["finishedAt"]
        for entry in status_of(pod).get("containerStatuses") or ()
        if (entry.get("state") or {}).get("terminated", {}).get("finishedAt")
    ]
    text = max(ends, default=None) or metadata_of(pod).get("creationTimestamp")
    return parse_timestamp(text) if text else None
