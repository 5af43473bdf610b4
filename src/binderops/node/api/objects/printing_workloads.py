"""The rows of workloads: what is wanted, what is there, what is ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from binderops.kube.objects import parse_timestamp
from binderops.node.api.objects.printing import (
    NONE,
    Columns,
    age,
    containers,
    human_duration,
    labels_text,
    name,
    selector_text,
    since,
    template_containers,
)
from binderops.node.api.objects.status import Object


def _deployment(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    ready = f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}"
    counts = [status.get("updatedReplicas") or 0, status.get("availableReplicas") or 0]
    return [name(obj), ready, *counts, age(obj, now), *template_containers(obj), selector_text(spec.get("selector"))]


def _replica_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    counts = [spec.get("replicas") or 0, status.get("replicas") or 0, status.get("readyReplicas") or 0]
    return [name(obj), *counts, age(obj, now), *template_containers(obj), selector_text(spec.get("selector"))]


def _stateful_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    ready = f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}"
    return [name(obj), ready, age(obj, now), *template_containers(obj)]


_DAEMON_COUNTS = (
    "desiredNumberScheduled",
    "currentNumberScheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
)


def _daemon_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    pod_spec = (spec.get("template") or {}).get("spec") or {}
    counts = [status.get(each) or 0 for each in _DAEMON_COUNTS]
    rest = [*containers(pod_spec), selector_text(spec.get("selector"))]
    return [name(obj), *counts, labels_text(pod_spec.get("nodeSelector")), age(obj, now), *rest]


def _job(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    rest = [*template_containers(obj), selector_text(spec.get("selector"))]
    return [name(obj), _job_status(obj), _completions(spec, status), _duration(status, now), age(obj, now), *rest]


def _job_status(obj: Object) -> str:
    true = {
        each.get("type") for each in (obj.get("status") or {}).get("conditions") or [] if each.get("status") == "True"
    }
    for condition, word in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if condition in true:
            return word
    return "Terminating" if (obj.get("metadata") or {}).get("deletionTimestamp") else "Running"


def _completions(spec: Object, status: Object) -> str:
    succeeded = status.get("succeeded") or 0
    if spec.get("completions") is not None:
        return f"{succeeded}/{spec['completions']}"
    parallelism = spec.get("parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(status: Object, now: datetime) -> str:
    start, end = status.get("startTime"), status.get("completionTime")
    if not start:
        return ""
    if not end:
        return since(start, now)
    return human_duration((parse_timestamp(str(end)) - parse_timestamp(str(start))).total_seconds())


def _cron_job(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    job_spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    pod_spec = (job_spec.get("template") or {}).get("spec") or {}
    last = status.get("lastScheduleTime")
    return [
        name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        str(bool(spec.get("suspend"))),
        len(status.get("active") or []),
        since(last, now) if last else NONE,
        age(obj, now),
        *containers(pod_spec),
        selector_text(job_spec.get("selector")),
    ]


def _controller_revision(obj: Object, now: datetime) -> list[Any]:
    owners = (obj.get("metadata") or {}).get("ownerReferences") or []
    controller = next((each for each in owners if each.get("controller")), None)
    owner = f"{str(controller.get('kind', '')).lower()}.apps/{controller.get('name')}" if controller else NONE
    return [name(obj), owner, obj.get("revision") or 0, age(obj, now)]


def _autoscaler(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    counts = [spec.get("maxReplicas") or 0, status.get("currentReplicas") or 0]
    reference = f"{target.get('kind', '')}/{target.get('name', '')}"
    return [name(obj), reference, "<unknown>", str(spec.get("minReplicas", "<unset>")), *counts, age(obj, now)]


_DETAILS = ("Containers*", "Images*", "Selector*")

PRINTERS: Mapping[str, tuple[Columns, Callable[[Object, datetime], list[Any]]]] = {
    "Deployment": (("Name", "Ready", "Up-to-date#", "Available#", "Age", *_DETAILS), _deployment),
    "ReplicaSet": (("Name", "Desired#", "Current#", "Ready#", "Age", *_DETAILS), _replica_set),
    "StatefulSet": (("Name", "Ready", "Age", "Containers*", "Images*"), _stateful_set),
    "DaemonSet": (
        ("Name", "Desired#", "Current#", "Ready#", "Up-to-date#", "Available#", "Node Selector", "Age", *_DETAILS),
        _daemon_set,
    ),
    "Job": (("Name", "Status", "Completions", "Duration", "Age", *_DETAILS), _job),
    "CronJob": (
        ("Name", "Schedule", "Timezone", "Suspend", "Active#", "Last Schedule", "Age", *_DETAILS),
        _cron_job,
    ),
    "ControllerRevision": (("Name", "Controller", "Revision#", "Age"), _controller_revision),
    "HorizontalPodAutoscaler": (
        ("Name", "Reference", "Targets", "MinPods", "MaxPods#", "Replicas#", "Age"),
        _autoscaler,
    ),
}
