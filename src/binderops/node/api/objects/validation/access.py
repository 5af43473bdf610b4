"""RBAC: rules, subjects, and role references, which are fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from binderops.node.api.objects.status import Object
from binderops.node.api.objects.typed import same
from binderops.node.api.objects.validation.fields import Causes, invalid, items, not_supported, required
from binderops.node.api.objects.validation.names import dns_subdomain

_GROUP = "rbac.authorization.k8s.io"


def role(obj: Object, old: Object | None) -> Causes:
    """A Role or ClusterRole."""
    namespaced = obj.get("kind") == "Role"
    for path, rule in items(obj.get("rules"), "rules"):
        yield from _rule(rule, path, namespaced=namespaced)


def _rule(rule: Mapping[str, Any], path: str, *, namespaced: bool) -> Causes:
    if not rule.get("verbs"):
        yield required(f"{path}.verbs", "verbs must contain at least one value")
    if rule.get("nonResourceURLs"):
        if namespaced:
            yield invalid(
                f"{path}.nonResourceURLs", rule["nonResourceURLs"], "namespaced rules cannot apply to non-resource URLs"
            )
        if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
            detail = "rules cannot apply to both regular resources and non-resource URLs"
            yield invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], detail)
        return
    if not rule.get("apiGroups"):
        yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
    if not rule.get("resources"):
        yield required(f"{path}.resources", "resource rules must supply at least one resource")


def binding(obj: Object, old: Object | None) -> Causes:
    """A RoleBinding or ClusterRoleBinding."""
    reference = obj.get("roleRef") or {}
    kinds = ["ClusterRole"] if obj.get("kind") == "ClusterRoleBinding" else ["ClusterRole", "Role"]
    if reference.get("apiGroup") not in (None, "", _GROUP):
        yield not_supported("roleRef.apiGroup", reference["apiGroup"], [_GROUP])
    if reference.get("kind") not in kinds:
        yield not_supported("roleRef.kind", reference.get("kind", ""), kinds)
    if not reference.get("name"):
        yield required("roleRef.name")
    for path, subject in items(obj.get("subjects"), "subjects"):
        yield from _subject(subject, path)
    if old is not None and not same(old.get("roleRef"), obj.get("roleRef")):
        yield invalid("roleRef", reference, "cannot change roleRef")


def _subject(subject: Mapping[str, Any], path: str) -> Causes:
    kind = subject.get("kind")
    if not subject.get("name"):
        yield required(f"{path}.name")
    if kind == "ServiceAccount":
        if subject.get("name"):
            yield from dns_subdomain(f"{path}.name", subject["name"])
        if not subject.get("namespace"):
            yield required(f"{path}.namespace")
        if subject.get("apiGroup"):
            yield not_supported(f"{path}.apiGroup", subject["apiGroup"], [""])
    elif kind in ("User", "Group"):
        if subject.get("apiGroup") != _GROUP:
            yield not_supported(f"{path}.apiGroup", subject.get("apiGroup", ""), [_GROUP])
    else:
        yield not_supported(f"{path}.kind", kind or "", ["Group", "ServiceAccount", "User"])
