"""The kinds of object that this project speaks about, and where each stands in the API's paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

Object = dict[str, Any]
"""A Kubernetes object (or any JSON object of the API) as the API sends it."""


class Kind(NamedTuple):
    """A kind: its group ("" for the core group), version, name, plural in paths, and whether it lies in namespaces."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """What stands in `apiVersion`: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path in the API; without a namespace that of all namespaces, or of a kind that has none."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            if not name:
                raise ValueError(f"a {self.kind} needs a name")
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


POD = Kind("", "v1", "Pod", "pods", True)
SERVICE = Kind("", "v1", "Service", "services", True)
SECRET = Kind("", "v1", "Secret", "secrets", True)
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", True)
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts", True)
PERSISTENT_VOLUME_CLAIM = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True)
PERSISTENT_VOLUME = Kind("", "v1", "PersistentVolume", "persistentvolumes", False)
ENDPOINTS = Kind("", "v1", "Endpoints", "endpoints", True)
EVENT = Kind("", "v1", "Event", "events", True)
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", False)
NODE = Kind("", "v1", "Node", "nodes", False)
LIMIT_RANGE = Kind("", "v1", "LimitRange", "limitranges", True)
RESOURCE_QUOTA = Kind("", "v1", "ResourceQuota", "resourcequotas", True)
POD_TEMPLATE = Kind("", "v1", "PodTemplate", "podtemplates", True)
REPLICATION_CONTROLLER = Kind("", "v1", "ReplicationController", "replicationcontrollers", True)

DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments", True)
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets", True)
STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets", True)
DAEMON_SET = Kind("apps", "v1", "DaemonSet", "daemonsets", True)
CONTROLLER_REVISION = Kind("apps", "v1", "ControllerRevision", "controllerrevisions", True)
JOB = Kind("batch", "v1", "Job", "jobs", True)
CRON_JOB = Kind("batch", "v1", "CronJob", "cronjobs", True)

INGRESS = Kind("networking.k8s.io", "v1", "Ingress", "ingresses", True)
INGRESS_CLASS = Kind("networking.k8s.io", "v1", "IngressClass", "ingressclasses", False)
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", True)
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True)
POD_DISRUPTION_BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True)
HORIZONTAL_POD_AUTOSCALER = Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True)
STORAGE_CLASS = Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", False)
PRIORITY_CLASS = Kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False)
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases", True)

ROLE = Kind("rbac.authorization.k8s.io", "v1", "Role", "roles", True)
ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", True)
CLUSTER_ROLE = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False)
CLUSTER_ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False)
TOKEN_REVIEW = Kind("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", False)
SUBJECT_ACCESS_REVIEW = Kind("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", False)
SELF_SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False
)

KINDS: Mapping[tuple[str, str], Kind] = {
    (kind.group, kind.kind): kind for kind in list(globals().values()) if isinstance(kind, Kind)
}
"""Every kind above, by (group, kind)."""


def kind_of(obj: Mapping[str, Any]) -> Kind:
    """The kind of an object by its `apiVersion` and `kind`; KeyError names one that is not spoken of here."""
    return kind_named(str(obj.get("apiVersion", "")), str(obj.get("kind", "")))


def kind_named(api_version: str, kind: str) -> Kind:
    """The kind that an `apiVersion` and a `kind` name (any version of its group); KeyError if there is none."""
    group, slash, _ = api_version.partition("/")
    known = KINDS.get((group if slash else "", kind))
    if known is None:
        raise KeyError(f"no kind {kind!r} in {api_version!r}")
    return known
