"""RBAC, as kube-apiserver evaluates it: bindings give roles to subjects, roles give rules, and nothing denies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from binderops.node.api.authentication import User
from binderops.node.store import Store

Object = dict[str, Any]
SUPERUSERS = "system:masters"
_RESOURCES = tuple(
    f"{plural}.rbac.authorization.k8s.io" for plural in ("clusterroles", "clusterrolebindings", "roles", "rolebindings")
)
_MOST_CACHED = 512


class Attributes(NamedTuple):
    """What somebody wants to do: to a resource, or (when `path` is set) to a path."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        """`pods` or `pods/log`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Rule(NamedTuple):
    """One PolicyRule."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def allows(self, wanted: Attributes) -> bool:
        """Whether the rule gives what is wanted."""
        if "*" not in self.verbs and wanted.verb not in self.verbs:
            return False
        if wanted.path:
            return any(_path_matches(path, wanted.path) for path in self.paths)
        if "*" not in self.groups and wanted.group not in self.groups:
            return False
        if not any(_resource_matches(resource, wanted) for resource in self.resources):
            return False
        return not self.names or (bool(wanted.name) and wanted.name in self.names)

    def as_json(self) -> Object:
        """The rule as it stands in a role."""
        keys = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
        return {key: list(values) for key, values in zip(keys, self, strict=True) if values or key == "verbs"}


def rules_of(role: Object) -> tuple[Rule, ...]:
    """The rules of a Role or ClusterRole."""
    keys = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
    return tuple(Rule(*(tuple(rule.get(key) or ()) for key in keys)) for rule in role.get("rules") or ())


class Authorizer:
    """Answers from the store; what it worked out for a user holds until anything of RBAC changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: dict[tuple[str, tuple[str, ...]], list[tuple[str, tuple[Rule, ...]]]] = {}
        self._bindings: list[tuple[str, Sequence[Object], Object]] | None = None
        self._seen = -1

    def allows(self, user: User, wanted: Attributes) -> bool:
        """Whether the user may."""
        if SUPERUSERS in user.groups:
            return True
        return any(rule.allows(wanted) for rule in self.rules_for(user, wanted.namespace))

    def rules_for(self, user: User, namespace: str) -> Iterator[Rule]:
        """Every rule that the user holds in a namespace ("": cluster-wide ones only)."""
        if SUPERUSERS in user.groups:
            yield Rule(("*",), ("*",), ("*",))
            yield Rule(("*",), paths=("*",))
        for space, rules in self._granted(user):
            if not space or space == namespace:
                yield from rules

    def role_rules(self, reference: Object, namespace: str) -> tuple[Rule, ...] | None:
        """The rules of the role that a binding in `namespace` names; None when there is no such role."""
        if reference.get("kind") == "ClusterRole":
            record = self._store.get("clusterroles.rbac.authorization.k8s.io", "", str(reference.get("name")))
        else:
            record = self._store.get("roles.rbac.authorization.k8s.io", namespace, str(reference.get("name")))
        return rules_of(record.object()) if record else None

    def _granted(self, user: User) -> list[tuple[str, tuple[Rule, ...]]]:
        self._forget_if_changed()
        key = (user.name, user.groups)
        if key not in self._cache:
            if len(self._cache) >= _MOST_CACHED:
                self._cache.clear()
            self._cache[key] = [
                (namespace, self.role_rules(reference, namespace) or ())
                for namespace, subjects, reference in self._all_bindings()
                if any(_is_subject(subject, user, namespace) for subject in subjects)
            ]
        return self._cache[key]

    def _all_bindings(self) -> list[tuple[str, Sequence[Object], Object]]:
        if self._bindings is None:
            records = self._store.records("clusterrolebindings.rbac.authorization.k8s.io")
            records += self._store.records("rolebindings.rbac.authorization.k8s.io")
            objects = ((record.namespace, record.object()) for record in records)
            self._bindings = [(space, obj.get("subjects") or (), obj.get("roleRef") or {}) for space, obj in objects]
        return self._bindings

    def _forget_if_changed(self) -> None:
        last = max(map(self._store.last_change, _RESOURCES))
        if last != self._seen:
            self._seen = last
            self._cache.clear()
            self._bindings = None


def uncovered(wanted: Iterable[Rule], held: Sequence[Rule]) -> list[Rule]:
    """The parts of `wanted` that `held` does not cover: what would be an escalation (validation.Covers)."""
    return [piece for rule in wanted for piece in _pieces(rule) if not any(_covers(own, piece) for own in held)]


def _pieces(rule: Rule) -> Iterator[Rule]:
    for verb in rule.verbs:
        for path in rule.paths:
            yield Rule((verb,), paths=(path,))
        for group in rule.groups:
            for resource in rule.resources:
                if not rule.names:
                    yield Rule((verb,), (group,), (resource,))
                for name in rule.names:
                    yield Rule((verb,), (group,), (resource,), (name,))


def _covers(own: Rule, piece: Rule) -> bool:
    if "*" not in own.verbs and piece.verbs[0] not in own.verbs:
        return False
    if piece.paths:
        return any(path == piece.paths[0] or _path_matches(path, piece.paths[0]) for path in own.paths)
    if "*" not in own.groups and piece.groups[0] not in own.groups:
        return False
    resource, _, subresource = piece.resources[0].partition("/")
    if not any(_resource_matches(held, Attributes("", "", resource, subresource)) for held in own.resources):
        return False
    return not own.names or (bool(piece.names) and piece.names[0] in own.names)


def _is_subject(subject: Object, user: User, namespace: str) -> bool:
    match subject.get("kind"):
        case "User":
            return bool(subject.get("name") == user.name)
        case "Group":
            return subject.get("name") in user.groups
        case "ServiceAccount":
            space = subject.get("namespace") or namespace
            return bool(space) and user.name == f"system:serviceaccount:{space}:{subject.get('name')}"
    return False


def _resource_matches(held: str, wanted: Attributes) -> bool:
    if held in {"*", wanted.full_resource}:
        return True
    return bool(wanted.subresource) and held == f"*/{wanted.subresource}"


def _path_matches(held: str, wanted: str) -> bool:
    return held in {"*", wanted} or (held.endswith("*") and wanted.startswith(held[:-1]))
