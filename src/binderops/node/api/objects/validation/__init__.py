"""Semantic validation: whether an object makes sense, and whether a change of it is allowed.

The rules are those of kube-apiserver that users of Helm and kubectl rely on; each cause has its field, reason and
sentence. Field names and types were checked at decoding (`strict`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from binderops.kube.schemas import Schema
from binderops.node.api.objects.status import Cause, Object, unprocessable
from binderops.node.api.objects.validation import (
    access,
    configuration,
    names,
    networking,
    pods,
    services,
    workloads,
)
from binderops.node.api.objects.validation.by_schema import by_schema
from binderops.node.api.objects.validation.fields import Causes

_CHECKS: Mapping[str, Callable[[Object, Object | None], Causes]] = {
    "Pod": pods.pod,
    "Deployment": workloads.deployment,
    "ReplicaSet": workloads.replica_set,
    "StatefulSet": workloads.stateful_set,
    "DaemonSet": workloads.daemon_set,
    "Job": workloads.job,
    "CronJob": workloads.cron_job,
    "PodDisruptionBudget": workloads.disruption_budget,
    "HorizontalPodAutoscaler": workloads.autoscaler,
    "Service": services.service,
    "ConfigMap": configuration.config_map,
    "Secret": configuration.secret,
    "PersistentVolumeClaim": configuration.claim,
    "PersistentVolume": configuration.volume,
    "StorageClass": configuration.storage_class,
    "Role": access.role,
    "ClusterRole": access.role,
    "RoleBinding": access.binding,
    "ClusterRoleBinding": access.binding,
    "Ingress": networking.ingress,
    "NetworkPolicy": networking.network_policy,
    "EndpointSlice": networking.endpoint_slice,
}


def validate(new: Object, old: Object | None = None, *, schema: Schema, subresource: str = "") -> list[Cause]:
    """Why an object, complete with defaults, cannot be stored; `old` is the one that it replaces.

    Writes to a subresource change only what their endpoint may, so that only metadata is looked at.
    """
    causes = list(names.metadata(new))
    if old is not None:
        causes += names.new_finalizers(new, old)
    if subresource:
        return causes
    check = _CHECKS.get(str(new.get("kind")))
    if check is not None:
        causes += check(new, old)
    causes += by_schema(new, schema)
    return _once(causes)


def raise_invalid(causes: Sequence[Cause], obj: Object) -> None:
    """422 Invalid, if there are causes; the object's name and kind stand in the details."""
    if not causes:
        return
    kind = str(obj.get("kind", ""))
    group, slash, _ = str(obj.get("apiVersion", "")).partition("/")
    metadata = obj.get("metadata") or {}
    name = str(metadata.get("name") or metadata.get("generateName") or "")
    sentences = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    text = sentences[0] if len(sentences) == 1 else "[" + ", ".join(sentences) + "]"
    qualified = f"{kind}.{group}" if slash else kind
    details: Object = {"name": name, "kind": kind, "causes": [cause.as_json() for cause in causes]}
    if slash:
        details["group"] = group
    raise unprocessable(f'{qualified} "{name}" is invalid: {text}', details=details)


def _once(causes: Sequence[Cause]) -> list[Cause]:
    """One cause of each reason for a field: types and rules may both have seen it."""
    return list({(cause.field, cause.reason, cause.message): cause for cause in causes}.values())
