"""Which fields a write through an endpoint cannot change, so that its manager never owns them.

A strategy's GetResetFields in kube-apiserver: `status` through the main resource, `spec` and most metadata through
`/status`. Kinds without a status subresource reset nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from binderops.node.api.objects.fieldset import FieldSet

_STATUS = FieldSet.of(("f:status",))
_SPEC = FieldSet.of(("f:spec",))
_SPEC_METADATA = FieldSet.of(("f:spec",), ("f:metadata",))
_NONE = FieldSet()

WITH_STATUS: Mapping[str, FieldSet] = {
    # kind: what a write to its /status resets
    "Pod": FieldSet.of(
        ("f:spec",),
        ("f:metadata", "f:deletionTimestamp"),
        ("f:metadata", "f:ownerReferences"),
    ),
    "Service": _SPEC,
    "Node": _SPEC,
    "Namespace": _SPEC,
    "PersistentVolume": _SPEC,
    "PersistentVolumeClaim": _SPEC,
    "ReplicationController": _SPEC,
    "ResourceQuota": _SPEC,
    "Deployment": FieldSet.of(("f:spec",), ("f:metadata", "f:labels")),
    "ReplicaSet": _SPEC,
    "StatefulSet": _SPEC,
    "DaemonSet": _SPEC,
    "Job": _SPEC,
    "CronJob": _SPEC,
    "Ingress": _SPEC,
    "PodDisruptionBudget": _SPEC,
    "HorizontalPodAutoscaler": _SPEC,
    "CertificateSigningRequest": _SPEC_METADATA,
    "APIService": _SPEC_METADATA,
    "CustomResourceDefinition": _SPEC_METADATA,
}
"""Kinds whose status is written through `/status` only."""


def reset_fields(obj: Mapping[str, Any], subresource: str) -> FieldSet:
    """The fields that a write of this object through an endpoint ("", "status") resets."""
    kind = str(obj.get("kind", ""))
    if kind not in WITH_STATUS:
        return _NONE
    if subresource == "status":
        return WITH_STATUS[kind]
    return _STATUS if not subresource else _NONE
