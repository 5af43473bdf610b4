"""Nobody gives what they do not hold: the checks that kube-apiserver makes when roles and bindings are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from binderops.node.api import refusals
from binderops.node.api.authorization import SUPERUSERS, Attributes, Rule, rules_of, uncovered
from binderops.node.api.context import Api, Call
from binderops.node.api.resources import BY_PATH

Object = dict[str, Any]
_GROUP = "rbac.authorization.k8s.io"
_ROLES = {"roles", "clusterroles"}
_BINDINGS = {"rolebindings", "clusterrolebindings"}


def check(api: Api, call: Call, obj: Object, *, live: Object | None) -> None:
    """Refuse (403) a role or binding that would give more than its writer holds, or may give."""
    if call.resource.group != _GROUP or SUPERUSERS in call.user.groups:
        return
    if call.resource.plural in _ROLES:
        _check_role(api, call, obj, live)
    elif call.resource.plural in _BINDINGS:
        _check_binding(api, call, obj, live)


def _check_role(api: Api, call: Call, role: Object, live: Object | None) -> None:
    if live is not None and all(role.get(key) == live.get(key) for key in ("rules", "aggregationRule")):
        return
    if _may(api, call, "escalate", call.resource.plural, role["metadata"]["name"]):
        return
    rules = rules_of(role)
    if role.get("aggregationRule"):
        # Whatever role will carry the labels: only who holds everything can give that.
        rules = (*rules, Rule(("*",), ("*",), ("*",)), Rule(("*",), paths=("*",)))
    _refuse_uncovered(api, call, role, rules)


def _check_binding(api: Api, call: Call, binding: Object, live: Object | None) -> None:
    if (
        live is not None
        and binding.get("subjects") == live.get("subjects")
        and binding.get("roleRef") == live.get("roleRef")
    ):
        return
    reference = binding.get("roleRef") or {}
    plural = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
    if _may(api, call, "bind", plural, str(reference.get("name"))):
        return
    rules = api.authorizer.role_rules(reference, call.namespace)
    if rules is None:
        raise refusals.not_found(BY_PATH[(_GROUP, "v1", plural)], str(reference.get("name")))
    _refuse_uncovered(api, call, binding, rules)


def _may(api: Api, call: Call, verb: str, plural: str, name: str) -> bool:
    return api.authorizer.allows(call.user, Attributes(verb, _GROUP, plural, "", call.namespace, name))


def _refuse_uncovered(api: Api, call: Call, obj: Object, rules: Sequence[Rule]) -> None:
    missing = uncovered(rules, tuple(api.authorizer.rules_for(call.user, call.namespace)))
    if missing:
        listed = "\n".join(orjson.dumps(rule.as_json()).decode() for rule in missing)
        groups = orjson.dumps(list(call.user.groups)).decode()
        who = f'user "{call.user.name}" (groups={groups})'
        why = f"{who} is attempting to grant RBAC permissions not currently held:\n{listed}"
        raise refusals.forbidden(call.resource, obj["metadata"]["name"], why)
