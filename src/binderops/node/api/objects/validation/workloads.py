"""Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs, budgets and autoscalers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from binderops.kube.selectors import from_label_selector
from binderops.node.api.objects.status import Object
from binderops.node.api.objects.typed import same
from binderops.node.api.objects.validation.fields import (
    Causes,
    at_least,
    forbidden,
    immutable,
    invalid,
    items,
    not_supported,
    required,
)
from binderops.node.api.objects.validation.names import label_value, labels, qualified_name
from binderops.node.api.objects.validation.pods import pod_template

_STATEFUL_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")
_DIRECTIVES = ("nodeSelector", "affinity", "tolerations", "schedulingGates")


def deployment(obj: Object, old: Object | None) -> Causes:
    """A Deployment."""
    spec = obj.get("spec") or {}
    yield from _replicated(obj, old, "deployment")
    yield from at_least("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate" and rolling is not None:
        yield forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    if strategy.get("type") == "RollingUpdate":
        yield from _rolling(rolling or {}, "spec.strategy.rollingUpdate")
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if deadline is not None and deadline <= ready:
        yield invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def replica_set(obj: Object, old: Object | None) -> Causes:
    """A ReplicaSet."""
    yield from _replicated(obj, old, "replicaset")


def daemon_set(obj: Object, old: Object | None) -> Causes:
    """A DaemonSet."""
    yield from _replicated(obj, old, "daemonset")


def stateful_set(obj: Object, old: Object | None) -> Causes:
    """A StatefulSet; on update most of its spec is fixed."""
    yield from _replicated(obj, None, "statefulset")
    if old is None:
        return
    before, after = (
        {key: value for key, value in (each.get("spec") or {}).items() if key not in _STATEFUL_MUTABLE}
        for each in (old, obj)
    )
    if not same(before, after):
        listed = ", ".join(f"'{each}'" for each in _STATEFUL_MUTABLE[:-1])
        detail = f"updates to statefulset spec for fields other than {listed} and 'minReadySeconds' are forbidden"
        yield forbidden("spec", detail)


def job(obj: Object, old: Object | None) -> Causes:
    """A Job; its template, selector and completion mode are fixed."""
    spec = obj.get("spec") or {}
    yield from _job_spec(spec, "spec")
    if not (spec.get("selector") or {}).get("matchLabels") and not (spec.get("selector") or {}).get("matchExpressions"):
        yield required("spec.selector")
    else:
        yield from _matches(spec, "job", "spec")
    if old is None:
        return
    before = old.get("spec") or {}
    for field in ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"):
        yield from immutable(f"spec.{field}", before.get(field), spec.get(field))
    if spec.get("completionMode") != "Indexed":
        yield from immutable("spec.completions", before.get("completions"), spec.get("completions"))
    suspended = before.get("suspend") and not (old.get("status") or {}).get("startTime")
    old_template, template = before.get("template"), spec.get("template")
    if suspended:
        old_template, template = _without_directives(old_template), _without_directives(template)
    yield from immutable("spec.template", old_template, template)


def cron_job(obj: Object, old: Object | None) -> Causes:
    """A CronJob."""
    spec = obj.get("spec") or {}
    schedule = str(spec.get("schedule") or "")
    if not schedule:
        yield required("spec.schedule")
    elif "TZ=" in schedule:
        yield invalid("spec.schedule", schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
    elif not re.fullmatch(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly|every .+)", schedule):
        count = len(schedule.split())
        if count != 5:
            yield invalid("spec.schedule", schedule, f"expected exactly 5 fields, found {count}: [{schedule}]")
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        yield from at_least(f"spec.{field}", spec.get(field))
    yield from _job_spec((spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")


def disruption_budget(obj: Object, old: Object | None) -> Causes:
    """A PodDisruptionBudget."""
    spec = obj.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        yield invalid("spec", {}, "minAvailable and maxUnavailable cannot be both set")
    for field in ("minAvailable", "maxUnavailable"):
        yield from _amount(f"spec.{field}", spec.get(field))
    yield from label_selector(spec.get("selector"), "spec.selector")


def autoscaler(obj: Object, old: Object | None) -> Causes:
    """A HorizontalPodAutoscaler."""
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas") or 1, spec.get("maxReplicas") or 0
    yield from at_least("spec.minReplicas", spec.get("minReplicas"), 1)
    if most < 1:
        yield invalid("spec.maxReplicas", most, "must be greater than 0")
    elif most < least:
        yield invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")


def label_selector(selector: Any, path: str) -> Causes:
    """A LabelSelector's keys, operators and values."""
    content: Mapping[str, Any] = selector or {}
    yield from labels(f"{path}.matchLabels", content.get("matchLabels"))
    for place, expression in items(content.get("matchExpressions"), f"{path}.matchExpressions"):
        operator, values = expression.get("operator"), expression.get("values") or []
        yield from qualified_name(f"{place}.key", str(expression.get("key") or ""))
        if operator not in _OPERATORS:
            yield invalid(f"{place}.operator", operator, "not a valid selector operator")
        elif operator in ("In", "NotIn") and not values:
            yield required(f"{place}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and values:
            yield forbidden(f"{place}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        for index, value in enumerate(values):
            yield from label_value(f"{place}.values[{index}]", value)


def _replicated(obj: Object, old: Object | None, what: str) -> Causes:
    spec = obj.get("spec") or {}
    yield from at_least("spec.replicas", spec.get("replicas"))
    yield from at_least("spec.minReadySeconds", spec.get("minReadySeconds"))
    yield from _matches(spec, what, "spec")
    yield from pod_template(spec.get("template"), "spec.template")
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy not in (None, "Always"):
        yield not_supported("spec.template.spec.restartPolicy", policy, ["Always"])
    if ((spec.get("template") or {}).get("spec") or {}).get("activeDeadlineSeconds") is not None:
        detail = f"activeDeadlineSeconds in {what} is not Supported"
        yield forbidden("spec.template.spec.activeDeadlineSeconds", detail)
    if old is not None:
        yield from immutable("spec.selector", (old.get("spec") or {}).get("selector"), spec.get("selector"))


def _matches(spec: Mapping[str, Any], what: str, path: str) -> Causes:
    selector = spec.get("selector")
    if selector is None:
        yield required(f"{path}.selector")
        return
    problems = list(label_selector(selector, f"{path}.selector"))
    yield from problems
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield invalid(f"{path}.selector", selector, f"empty selector is invalid for {what}")
        return
    have = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not problems and not from_label_selector(selector).matches(have):
        yield invalid(f"{path}.template.metadata.labels", have, "`selector` does not match template `labels`")


def _job_spec(spec: Mapping[str, Any], path: str) -> Causes:
    for field in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        yield from at_least(f"{path}.{field}", spec.get(field))
    yield from pod_template(spec.get("template"), f"{path}.template")
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy not in ("OnFailure", "Never"):
        place = f"{path}.template.spec.restartPolicy"
        yield (
            required(place, 'valid values: "OnFailure", "Never"')
            if policy in (None, "", "Always")
            else not_supported(place, policy, ["OnFailure", "Never"])
        )
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        yield required(f"{path}.completions", "when completion mode is Indexed")


def _without_directives(template: Any) -> Any:
    """A suspended job that never started may still be told where to run."""
    content = template or {}
    metadata = {
        key: value for key, value in (content.get("metadata") or {}).items() if key not in ("labels", "annotations")
    }
    spec = {key: value for key, value in (content.get("spec") or {}).items() if key not in _DIRECTIVES}
    return {**content, "metadata": metadata, "spec": spec}


def _rolling(rolling: Mapping[str, Any], path: str) -> Causes:
    for field in ("maxUnavailable", "maxSurge"):
        yield from _amount(f"{path}.{field}", rolling.get(field))
    if rolling.get("maxUnavailable") in (0, "0%") and rolling.get("maxSurge") in (0, "0%"):
        yield invalid(f"{path}.maxUnavailable", rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0")


def _amount(path: str, value: Any) -> Causes:
    """A number of pods, or a percentage of them."""
    if isinstance(value, str):
        if not re.fullmatch(r"\d+%", value):
            yield invalid(path, value, "a valid percent string must be a numeric string followed by an ending '%'")
        elif path.endswith("maxUnavailable") and int(value[:-1]) > 100:
            yield invalid(path, value, "must not be greater than 100%")
    else:
        yield from at_least(path, value)
