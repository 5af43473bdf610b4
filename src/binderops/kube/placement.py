"""Whether a node is one that a pod may run on: its node selector and required node affinity, beside the node's labels.

A cluster divides its nodes by `hub.jupyter.org/node-purpose` into those of the core and those of users. A node that has
no such label, and is the only one, serves both: a pod that asks for either fits, though the label has one value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from binderops.kube.kinds import Object
from binderops.kube.objects import labels_of, name_of
from binderops.kube.selectors import Requirement

PURPOSE = "hub.jupyter.org/node-purpose"
PURPOSES = ("core", "user")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def unmet(spec: Mapping[str, Any], node: Object) -> str:
    """What of a pod's spec the only node does not meet, as selectors are written; "" where the pod fits."""
    # Of what it serves, what lacks least: a purpose that is met is not told among what is missing.
    return min((_unmet(spec, labels, node) for labels in _served(labels_of(node))), key=len)


def labels_told(node: Object) -> str:
    """A node's labels in words, for whoever asked for others."""
    labels = labels_of(node)
    told = ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "no labels"
    return told if PURPOSE in labels else f"{told}; it serves {PURPOSE}={' and '.join(PURPOSES)}"


def _served(labels: Mapping[str, str]) -> Sequence[Mapping[str, str]]:
    if PURPOSE in labels:
        return [labels]
    return [labels, *({**labels, PURPOSE: purpose} for purpose in PURPOSES)]


def _unmet(spec: Mapping[str, Any], labels: Mapping[str, str], node: Object) -> str:
    wanted = [f"{key}={value}" for key, value in (spec.get("nodeSelector") or {}).items() if labels.get(key) != value]
    if wanted:
        return ", ".join(wanted)
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED)
    if not required:
        return ""
    terms = required.get("nodeSelectorTerms") or []
    if any(_is_met(term, labels, name_of(node)) for term in terms):
        return ""
    return " or ".join(_told(term) for term in terms) or "a node affinity without terms"


def _is_met(term: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    expressions, fields = _requirements(term, "matchExpressions"), _requirements(term, "matchFields")
    if not expressions and not fields:
        return False  # an empty term matches no node
    return all(each.matches(labels) for each in expressions) and all(
        each.matches({"metadata.name": name}) for each in fields
    )


def _told(term: Mapping[str, Any]) -> str:
    all_of = [*_requirements(term, "matchExpressions"), *_requirements(term, "matchFields")]
    return " and ".join(map(str, all_of)) or "an empty term"


def _requirements(term: Mapping[str, Any], key: str) -> list[Requirement]:
    return [
        Requirement(
            str(each["key"]), str(each.get("operator")), tuple(str(value) for value in each.get("values") or ())
        )
        for each in term.get(key) or ()
    ]
