"""What a write may and may not set, before it is stored: kube-apiserver's strategies (PrepareForCreate, -ForUpdate).

A client's `status` is dropped on the main resource, its `spec` on `/status`; the server's metadata stays the server's;
`generation` counts changes of what is wanted.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from binderops.kube.schemas import Schema
from binderops.node.api.objects.normal import normal
from binderops.node.api.objects.pod_quality import quality_of_service
from binderops.node.api.objects.reset import WITH_STATUS
from binderops.node.api.objects.service_addresses import with_allocated
from binderops.node.api.objects.status import Object
from binderops.node.api.objects.typed import same

WITH_GENERATION = frozenset(
    {
        "Pod",
        "Deployment",
        "ReplicaSet",
        "StatefulSet",
        "DaemonSet",
        "ReplicationController",
        "Job",
        "CronJob",
        "Ingress",
        "IngressClass",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "EndpointSlice",
        "PriorityClass",
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
    }
)
"""Kinds whose generation the server counts."""

_SERVERS_OWN = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "namespace",
)
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_PREFIX = 63 - 5


def generated_name(prefix: str) -> str:
    """A name from `generateName`: five random characters, none of which makes words."""
    return prefix[:_LONGEST_PREFIX] + "".join(secrets.choice(_SUFFIX) for _ in range(5))


def prepare_for_create(obj: Object, *, schema: Schema, now: datetime, uid: str | None = None) -> Object:
    """A new object as it will be stored: identity, first generation, status from the server, what kinds generate."""
    kind = str(obj.get("kind", ""))
    metadata = {
        key: value
        for key, value in (obj.get("metadata") or {}).items()
        if key not in ("selfLink", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
    }
    metadata["uid"] = uid or str(uuid.uuid4())
    metadata["creationTimestamp"] = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generated_name(str(metadata["generateName"]))
    if kind in WITH_GENERATION:
        metadata["generation"] = 1
    result = {**obj, "metadata": metadata}
    if kind in WITH_STATUS and kind != "Node":
        result["status"] = _first_status(result, schema)
    if kind in _GENERATED:
        _GENERATED[kind](result)
    return result


def prepare_for_update(old: Object, new: Object, *, schema: Schema, subresource: str = "") -> Object:
    """A changed object as it will be stored; what the endpoint cannot set is taken from the old one."""
    kind = str(new.get("kind", ""))
    result = dict(new)
    if subresource == "status":
        result = {**{key: value for key, value in old.items() if key != "status"}, "metadata": new.get("metadata")}
        if "status" in new:
            result["status"] = _with_counts(new["status"], schema)
    elif kind in WITH_STATUS:
        result.pop("status", None)
        if "status" in old:
            result["status"] = old["status"]
    result["metadata"] = kept_metadata(old, new, subresource=subresource)
    if kind == "Service" and not subresource:
        result["spec"] = with_allocated(result.get("spec") or {}, old.get("spec") or {})
    if kind in WITH_GENERATION and subresource != "status" and _wants_other(old, result, kind):
        result["metadata"]["generation"] = int((old.get("metadata") or {}).get("generation") or 0) + 1
    return result


def kept_metadata(old: Object, new: Object, *, subresource: str = "") -> Object:
    """The new metadata, with what only the server sets taken from the old one."""
    kind = str(new.get("kind", ""))
    before, metadata = old.get("metadata") or {}, dict(new.get("metadata") or {})
    kept: tuple[str, ...] = (*_SERVERS_OWN, "name", "generateName")
    if subresource == "status":
        kept = (*kept, *{"Deployment": ("labels",), "Pod": ("ownerReferences",)}.get(kind, ()))
    for key in kept:
        if key == "uid" and metadata.get("uid"):
            continue  # a precondition, which the server compares
        metadata.pop(key, None)
        if key in before:
            metadata[key] = before[key]
    metadata.pop("selfLink", None)
    order = [*before, *metadata]
    return {key: metadata[key] for key in dict.fromkeys(order) if key in metadata}


def _wants_other(old: Object, new: Object, kind: str) -> bool:
    """Whether the change is one that a controller must act on."""
    if kind == "Deployment" and not same(
        (old.get("metadata") or {}).get("annotations") or {}, (new.get("metadata") or {}).get("annotations") or {}
    ):
        return True
    apart = ("metadata", "status", "apiVersion", "kind")
    return not same(*({key: value for key, value in each.items() if key not in apart} for each in (old, new)))


def _first_status(obj: Object, schema: Schema) -> Any:
    kind = obj.get("kind")
    field = schema.field("status")
    first: Object = {"phase": phase} if (phase := _FIRST_PHASE.get(str(kind))) else {}
    if kind == "Pod":
        first["qosClass"] = quality_of_service(obj)
        if (obj.get("spec") or {}).get("schedulingGates"):
            first["conditions"] = [{**_GATED, "lastTransitionTime": obj["metadata"]["creationTimestamp"]}]
    return _with_counts(normal(first, field) if field else first, schema)


def _with_counts(status: Any, schema: Schema) -> Any:
    """Counts that Go always writes (`replicas: 0`): clients subtract them without asking."""
    field = schema.field("status")
    if field is None or not isinstance(status, dict):
        return status
    missing = {
        name: 0
        for name in field.required
        if name not in status and (each := field.field(name)) is not None and each.type == "integer"
    }
    return {**status, **missing}


_GATED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}
_FIRST_PHASE = {
    "Pod": "Pending",
    "Namespace": "Active",
    "PersistentVolume": "Pending",
    "PersistentVolumeClaim": "Pending",
}


def _namespace(namespace: Object) -> None:
    spec = namespace.get("spec") or {}
    finalizers = [each for each in spec.get("finalizers") or [] if each != "kubernetes"]
    namespace["spec"] = {**spec, "finalizers": [*finalizers, "kubernetes"]}


def _service(service: Object) -> None:
    """A single-stack cluster of IPv4: what the address allocator would answer."""
    spec = service.get("spec") or {}
    if spec.get("type") != "ExternalName":
        service["spec"] = {**spec}
        service["spec"].setdefault("ipFamilies", ["IPv4"])
        service["spec"].setdefault("ipFamilyPolicy", "SingleStack")


def _job(job: Object) -> None:
    """Labels and a selector by the job's uid, so that no two jobs share pods (unless `manualSelector`)."""
    spec = job.get("spec") or {}
    metadata = job["metadata"]
    template = spec.get("template") or {}
    template_metadata = template.get("metadata") or {}
    labels = {
        "batch.kubernetes.io/controller-uid": metadata["uid"],
        "batch.kubernetes.io/job-name": metadata.get("name", ""),
        "controller-uid": metadata["uid"],
        "job-name": metadata.get("name", ""),
    }
    if spec.get("manualSelector"):
        return
    selector = spec.get("selector") or {}
    matched = {
        **(selector.get("matchLabels") or {}),
        "batch.kubernetes.io/controller-uid": metadata["uid"],
    }
    template_metadata = {**template_metadata, "labels": {**labels, **(template_metadata.get("labels") or {})}}
    job["spec"] = {
        **spec,
        "selector": {**selector, "matchLabels": matched},
        "template": {**template, "metadata": template_metadata},
    }


_GENERATED: Mapping[str, Callable[[Object], None]] = {"Namespace": _namespace, "Service": _service, "Job": _job}
