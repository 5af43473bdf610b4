"""The roles that every cluster starts with, as kube-apiserver's bootstrap policy has them, for what the node serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from binderops.node.pki import NODE_GROUP

Object = dict[str, Any]
NODE_ROLE = "binderops:node"

_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_RBAC = "rbac.authorization.k8s.io"
_DEFAULTING = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_HEALTH = ["/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*"]
_VERSION = ["/version", "/version/"]

_CORE = ["configmaps", "endpoints", "persistentvolumeclaims", "serviceaccounts", "services"]
_APPS = ["daemonsets", "deployments", "deployments/scale", "replicasets", "replicasets/scale"]
_APPS += ["statefulsets", "statefulsets/scale"]


def bootstrap_roles() -> Iterator[Object]:
    """Every ClusterRole and ClusterRoleBinding of the start."""
    yield _role("cluster-admin", _rule(["*"], ["*"], ["*"]), {"verbs": ["*"], "nonResourceURLs": ["*"]})
    for name in ("admin", "edit", "view"):
        yield _aggregated(name)
    yield _role("system:aggregate-to-view", *_view(), aggregate_to="view")
    yield _role("system:aggregate-to-edit", *_edit(), aggregate_to="edit")
    yield _role("system:aggregate-to-admin", *_admin(), aggregate_to="admin")
    paths = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *_HEALTH, *_VERSION]
    yield _role("system:discovery", {"verbs": ["get"], "nonResourceURLs": paths})
    yield _role("system:public-info-viewer", {"verbs": ["get"], "nonResourceURLs": [*_HEALTH, *_VERSION]})
    yield _role("system:basic-user", *_basic_user())
    issuer = ["/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks"]
    issuer_role = "system:service-account-issuer-discovery"
    yield _role(issuer_role, {"verbs": ["get"], "nonResourceURLs": issuer})
    yield _role("system:auth-delegator", *_auth_delegator())
    yield _role(NODE_ROLE, *_node_parts())

    yield _binding("cluster-admin", "system:masters")
    yield _binding("system:discovery", "system:authenticated")
    yield _binding("system:basic-user", "system:authenticated")
    yield _binding("system:public-info-viewer", "system:authenticated", "system:unauthenticated")
    yield _binding(issuer_role, "system:serviceaccounts")
    yield _binding(NODE_ROLE, NODE_GROUP)


def _view() -> list[Object]:
    """What may be read of a namespace: no Secrets, no roles."""
    core = [*_CORE, "persistentvolumeclaims/status", "pods", "services/status"]
    more = ["bindings", "events", "limitranges", "namespaces/status", "pods/log", "pods/status"]
    more += ["resourcequotas", "resourcequotas/status"]
    return [
        _rule(_READ, [""], core),
        _rule(_READ, [""], more),
        _rule(_READ, [""], ["namespaces"]),
        _rule(_READ, ["discovery.k8s.io"], ["endpointslices"]),
        _rule(_READ, ["apps"], ["controllerrevisions", *_with_status(_APPS)]),
        _rule(_READ, ["autoscaling"], ["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
        _rule(_READ, ["batch"], ["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
        _rule(_READ, ["policy"], ["poddisruptionbudgets", "poddisruptionbudgets/status"]),
        _rule(_READ, ["networking.k8s.io"], ["ingresses", "ingresses/status", "networkpolicies"]),
    ]


def _edit() -> list[Object]:
    """What may be changed in a namespace: everything but who may what."""
    return [
        _rule(_READ, [""], ["pods/attach", "pods/exec", "secrets"]),
        _rule(["impersonate"], [""], ["serviceaccounts"]),
        _rule(_WRITE, [""], ["pods", "pods/attach", "pods/exec"]),
        _rule(["create"], [""], ["pods/eviction"]),
        _rule(
            _WRITE, [""], ["configmaps", "events", "persistentvolumeclaims", "secrets", "serviceaccounts", "services"]
        ),
        _rule(["create"], [""], ["serviceaccounts/token"]),
        _rule(_WRITE, ["apps"], _APPS),
        _rule(_WRITE, ["autoscaling"], ["horizontalpodautoscalers"]),
        _rule(_WRITE, ["batch"], ["cronjobs", "jobs"]),
        _rule(_WRITE, ["policy"], ["poddisruptionbudgets"]),
        _rule(_WRITE, ["networking.k8s.io"], ["ingresses", "networkpolicies"]),
        _rule([*_WRITE, *_READ], ["coordination.k8s.io"], ["leases"]),
    ]


def _admin() -> list[Object]:
    """What an owner of a namespace may beyond that: give roles, within their own."""
    return [
        _rule(["create"], ["authorization.k8s.io"], ["localsubjectaccessreviews"]),
        _rule([*_WRITE, *_READ], [_RBAC], ["rolebindings", "roles"]),
    ]


def _basic_user() -> list[Object]:
    return [
        _rule(["create"], ["authorization.k8s.io"], ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
        _rule(["create"], ["authentication.k8s.io"], ["selfsubjectreviews"]),
    ]


def _auth_delegator() -> list[Object]:
    return [
        _rule(["create"], ["authentication.k8s.io"], ["tokenreviews"]),
        _rule(["create"], ["authorization.k8s.io"], ["subjectaccessreviews"]),
    ]


def _node_parts() -> list[Object]:
    """The node's own parts: controllers that make, clean up and collect anything, pods, network. They give no roles."""
    rights = [*_READ, *_WRITE]
    return [
        _rule(rights, ["*"], ["*"]),
        {"verbs": ["get"], "nonResourceURLs": ["*"]},
    ]


def _with_status(resources: list[str]) -> list[str]:
    plain = [resource for resource in resources if "/" not in resource]
    return sorted({*resources, *(f"{resource}/status" for resource in plain)})


def _rule(verbs: list[str], groups: list[str], resources: list[str]) -> Object:
    return {"verbs": verbs, "apiGroups": groups, "resources": resources}


def _role(name: str, *rules: Object, aggregate_to: str = "") -> Object:
    labels = dict(_DEFAULTING)
    if aggregate_to:
        labels[f"{_RBAC}/aggregate-to-{aggregate_to}"] = "true"
    return _object("ClusterRole", name, labels) | {"rules": list(rules)}


def _aggregated(name: str) -> Object:
    """admin, edit and view: what the roles with their label hold; each with what the lesser ones hold."""
    wanted = {"admin": ["admin", "edit", "view"], "edit": ["edit", "view"], "view": ["view"]}[name]
    selectors = [{"matchLabels": {f"{_RBAC}/aggregate-to-{each}": "true"}} for each in wanted]
    return _object("ClusterRole", name, dict(_DEFAULTING)) | {
        "aggregationRule": {"clusterRoleSelectors": selectors},
        "rules": [],
    }


def _binding(role: str, *groups: str) -> Object:
    subjects = [{"kind": "Group", "apiGroup": _RBAC, "name": group} for group in groups]
    reference = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role}
    return _object("ClusterRoleBinding", role, dict(_DEFAULTING)) | {"subjects": subjects, "roleRef": reference}


def _object(kind: str, name: str, labels: dict[str, str]) -> Object:
    metadata = {
        "name": name,
        "labels": labels,
        "annotations": {f"{_RBAC}/autoupdate": "true"},
    }
    return {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata}
