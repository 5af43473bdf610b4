"""Every default that kube-apiserver sets in code, since OpenAPI does not have them: one table.

`BY_TYPE` holds fixed defaults of types wherever they stand (a pod spec in a Deployment has a pod's);
`computed_defaults` has those that depend on other fields; `BY_KIND` those of whole objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from binderops.kube.schemas import ANY, Schema
from binderops.node.api.objects.computed_defaults import COMPUTED, COMPUTED_BY_KIND
from binderops.node.api.objects.normal import normal
from binderops.node.api.objects.status import Object

_CORE = "io.k8s.api.core.v1."
_RBAC = "rbac.authorization.k8s.io"

_CONTAINER = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}

BY_TYPE: Mapping[str, Mapping[str, Any]] = {
    _CORE + "PodSpec": {
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {},
        "schedulerName": "default-scheduler",
    },
    _CORE + "Container": _CONTAINER,
    _CORE + "EphemeralContainer": _CONTAINER,
    _CORE + "ContainerPort": {"protocol": "TCP"},
    _CORE + "Probe": {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
    _CORE + "HTTPGetAction": {"path": "/", "scheme": "HTTP"},
    _CORE + "GRPCAction": {"service": ""},
    _CORE + "ObjectFieldSelector": {"apiVersion": "v1"},
    _CORE + "ResourceFieldSelector": {"divisor": "0"},
    _CORE + "SecretVolumeSource": {"defaultMode": 0o644},
    _CORE + "ConfigMapVolumeSource": {"defaultMode": 0o644},
    _CORE + "DownwardAPIVolumeSource": {"defaultMode": 0o644},
    _CORE + "ProjectedVolumeSource": {"defaultMode": 0o644},
    _CORE + "HostPathVolumeSource": {"type": ""},
    _CORE + "ServiceAccountTokenProjection": {"expirationSeconds": 3600},
    _CORE + "ISCSIVolumeSource": {"iscsiInterface": "default"},
    _CORE + "RBDVolumeSource": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    _CORE + "PersistentVolumeClaimSpec": {"volumeMode": "Filesystem"},
    _CORE + "PersistentVolumeSpec": {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"},
    _CORE + "ServicePort": {"protocol": "TCP"},
    _CORE + "EndpointPort": {"protocol": "TCP"},
    "io.k8s.api.discovery.v1.EndpointPort": {"name": "", "protocol": "TCP"},
    "io.k8s.api.networking.v1.NetworkPolicyPort": {"protocol": "TCP"},
    "io.k8s.api.networking.v1.IngressClassParametersReference": {"scope": "Cluster"},
    "io.k8s.api.rbac.v1.RoleRef": {"apiGroup": _RBAC},
    "io.k8s.api.batch.v1.PodFailurePolicyOnPodConditionsPattern": {"status": "True"},
}

BY_KIND: Mapping[str, Mapping[str, Any]] = {
    "Pod": {"spec": {"enableServiceLinks": True}},
    "Secret": {"type": "Opaque"},
    "Service": {"spec": {"sessionAffinity": "None", "type": "ClusterIP"}},
    "Deployment": {
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate"},
        }
    },
    "ReplicaSet": {"spec": {"replicas": 1}},
    "ReplicationController": {"spec": {"replicas": 1}},
    "StatefulSet": {
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 10,
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate"},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        }
    },
    "DaemonSet": {"spec": {"revisionHistoryLimit": 10, "updateStrategy": {"type": "RollingUpdate"}}},
    "Job": {"spec": {"completionMode": "NonIndexed", "suspend": False, "manualSelector": False}},
    "CronJob": {
        "spec": {
            "concurrencyPolicy": "Allow",
            "suspend": False,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
        }
    },
    "HorizontalPodAutoscaler": {"spec": {"minReplicas": 1}},
    "StorageClass": {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"},
    "PriorityClass": {"preemptionPolicy": "PreemptLowerPriority"},
}


def apply_defaults(obj: Object, schema: Schema) -> Object:
    """The object in its normal form with all defaults set; a new object, defaults are copies."""
    kind = str(obj.get("kind", ""))
    result: Object = normal(obj, schema)
    for name, value in BY_KIND.get(kind, {}).items():
        result[name] = _filled(result.get(name), value)
    if kind in COMPUTED_BY_KIND:
        COMPUTED_BY_KIND[kind](result)
    walked: Object = _walk(normal(result, schema), schema)
    return walked


def _walk(value: Any, schema: Schema) -> Any:
    if isinstance(value, dict):
        if schema.type == "any":
            return value
        if schema.definition in BY_TYPE:
            value = _filled(value, BY_TYPE[schema.definition])
        if schema.definition in COMPUTED:
            COMPUTED[schema.definition](value)
        return {key: _walk(content, schema.field(key) or ANY) for key, content in value.items()}
    if isinstance(value, list):
        items = schema.items if schema.type == "array" else ANY
        return [_walk(item, items) for item in value]
    return value


def _filled(value: Any, defaults: Any) -> Any:
    """Defaults where nothing is set. A set empty string counts as unset where the default is another string."""
    if isinstance(defaults, dict):
        if value is not None and not isinstance(value, dict):
            return value
        current = value or {}
        return current | {key: _filled(current.get(key), default) for key, default in defaults.items()}
    unset = value is None or (value == "" and isinstance(defaults, str))
    return deepcopy(defaults) if unset else value
