"""The one table of what the node's API serves; docs/develop/node.md shows it, and a test holds the two together.

A kind that is not here is absent from discovery, so that clients refuse it by name. Short names, categories and what
else discovery tells of a resource come from the recorded kube-apiserver (`kube.schemas`), cut to this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Subresource(NamedTuple):
    """One subresource: the kind of its body and the verbs that discovery names."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


class Resource(NamedTuple):
    """One resource of the API. `note` says where the node does less with it than a cluster."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: tuple[str, ...]
    subresources: Mapping[str, Subresource]
    note: str = ""

    @property
    def api_version(self) -> str:
        """What stands in `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def id(self) -> str:
        """As messages and the store name it: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def stored_as(self) -> str:
        """The id under which objects lie in the store: both groups of events share one."""
        return "events" if self.plural == "events" else self.id

    @property
    def is_stored(self) -> bool:
        """Whether objects of it exist at all; reviews are answered and forgotten."""
        return "get" in self.verbs


_ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_NAMESPACE_VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")
_REVIEW = ("create",)
_CHANGE = ("get", "patch", "update")


def _subresources(kind: str, *names: str) -> dict[str, Subresource]:
    known = {
        "status": Subresource("status", kind, _CHANGE),
        "scale": Subresource("scale", "Scale", _CHANGE, "autoscaling", "v1"),
        "finalize": Subresource("finalize", kind, ("update",)),
        "log": Subresource("log", kind, ("get",)),
        "exec": Subresource("exec", "PodExecOptions", ("create", "get")),
        "attach": Subresource("attach", "PodAttachOptions", ("create", "get")),
        "binding": Subresource("binding", "Binding", ("create",)),
        "eviction": Subresource("eviction", "Eviction", ("create",), "policy", "v1"),
        "token": Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io", "v1"),
    }
    return {name: known[name] for name in sorted(names)}


def _row(
    api_version: str,
    kind: str,
    plural: str,
    *subresources: str,
    cluster: bool = False,
    verbs: tuple[str, ...] = _ALL,
    note: str = "",
) -> Resource:
    group, _, version = api_version.rpartition("/")
    return Resource(
        group,
        version,
        kind,
        plural,
        not cluster,
        verbs,
        _subresources(kind, *subresources),
        note,
    )


_STORED = "stored, not enforced"
_RBAC = "rbac.authorization.k8s.io/v1"
_NETWORKING = "networking.k8s.io/v1"
_AUTHENTICATION = "authentication.k8s.io/v1"
_AUTHORIZATION = "authorization.k8s.io/v1"

RESOURCES: tuple[Resource, ...] = (
    _row("v1", "ConfigMap", "configmaps"),
    _row("v1", "Endpoints", "endpoints"),
    _row("v1", "Event", "events", note="kept for one hour"),
    _row("v1", "LimitRange", "limitranges", note=_STORED),
    _row("v1", "Namespace", "namespaces", "finalize", "status", cluster=True, verbs=_NAMESPACE_VERBS),
    _row("v1", "Node", "nodes", "status", cluster=True),
    _row("v1", "PersistentVolumeClaim", "persistentvolumeclaims", "status"),
    _row("v1", "PersistentVolume", "persistentvolumes", "status", cluster=True),
    _row(
        "v1",
        "Pod",
        "pods",
        *("attach", "binding", "eviction", "exec", "log", "status"),
        note="no ephemeral containers, resize, port-forward, proxy",
    ),
    _row("v1", "ResourceQuota", "resourcequotas", "status", note=_STORED),
    _row("v1", "Secret", "secrets"),
    _row("v1", "ServiceAccount", "serviceaccounts", "token"),
    _row("v1", "Service", "services", "status", note="no proxy; IPv4 only"),
    _row("apps/v1", "ControllerRevision", "controllerrevisions"),
    _row("apps/v1", "DaemonSet", "daemonsets", "status"),
    _row("apps/v1", "Deployment", "deployments", "scale", "status"),
    _row("apps/v1", "ReplicaSet", "replicasets", "scale", "status"),
    _row("apps/v1", "StatefulSet", "statefulsets", "scale", "status"),
    _row("events.k8s.io/v1", "Event", "events", note="the same objects as core events"),
    _row(_AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews", cluster=True, verbs=_REVIEW),
    _row(_AUTHENTICATION, "TokenReview", "tokenreviews", cluster=True, verbs=_REVIEW),
    _row(_AUTHORIZATION, "LocalSubjectAccessReview", "localsubjectaccessreviews", verbs=_REVIEW),
    _row(_AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews", cluster=True, verbs=_REVIEW),
    _row(_AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews", cluster=True, verbs=_REVIEW),
    _row(_AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews", cluster=True, verbs=_REVIEW),
    _row(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "status",
        note="stored, not acted on",
    ),
    _row("batch/v1", "CronJob", "cronjobs", "status"),
    _row("batch/v1", "Job", "jobs", "status"),
    _row(_NETWORKING, "IngressClass", "ingressclasses", cluster=True),
    _row(_NETWORKING, "Ingress", "ingresses", "status"),
    _row(_NETWORKING, "NetworkPolicy", "networkpolicies"),
    _row("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", "status"),
    _row(_RBAC, "ClusterRoleBinding", "clusterrolebindings", cluster=True),
    _row(_RBAC, "ClusterRole", "clusterroles", cluster=True),
    _row(_RBAC, "RoleBinding", "rolebindings"),
    _row(_RBAC, "Role", "roles"),
    _row("storage.k8s.io/v1", "StorageClass", "storageclasses", cluster=True),
    _row("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", cluster=True),
    _row("coordination.k8s.io/v1", "Lease", "leases"),
    _row("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
)

BY_PATH: Mapping[tuple[str, str, str], Resource] = {(r.group, r.version, r.plural): r for r in RESOURCES}
"""By (group, version, plural), as a request's path names it."""

GROUP_VERSIONS: tuple[tuple[str, str], ...] = tuple(dict.fromkeys((r.group, r.version) for r in RESOURCES))
"""Every (group, version), in the table's order; the core group is ""."""
