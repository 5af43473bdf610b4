"""Which pods fit the only node, and what is said of those that do not."""

from __future__ import annotations

from typing import Any

import pytest

from binderops.kube.placement import labels_told, unmet

NODE = {"metadata": {"name": "n", "labels": {"zone": "a", "size": "5"}}}
PURPOSE = "hub.jupyter.org/node-purpose"


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": required}}


def term(key: str, operator: str, *values: str, of: str = "matchExpressions") -> dict[str, Any]:
    return {of: [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, ""),
        ({"nodeSelector": None, "affinity": {"podAntiAffinity": {}}}, ""),
        ({"nodeSelector": {"zone": "a", "size": "5"}}, ""),
        ({"nodeSelector": {"zone": "b", "size": "5", "new": "x"}}, "zone=b, new=x"),
        (affinity(term("zone", "In", "a", "b")), ""),
        (affinity(term("zone", "In", "b", "c")), "zone in (b,c)"),
        (affinity(term("zone", "NotIn", "a"), term("zone", "Exists")), ""),
        (affinity(term("zone", "DoesNotExist"), term("size", "Gt", "5")), "!zone or size>5"),
        (affinity(term("size", "Lt", "6")), ""),
        (affinity(term("size", "Lt", "x")), "size<x"),
        (affinity(term("metadata.name", "In", "n", of="matchFields")), ""),
        (affinity(term("metadata.name", "In", "m", of="matchFields")), "metadata.name=m"),
        (affinity({}), "an empty term"),
        (affinity(), "a node affinity without terms"),
        ({"nodeSelector": {PURPOSE: "core", "zone": "b"}}, "zone=b"),
        ({"nodeSelector": {PURPOSE: "other"}}, f"{PURPOSE}=other"),
        ({"nodeSelector": {"zone": "b"}, **affinity(term("zone", "In", "c"))}, "zone=b"),
    ],
)
def test_what_a_node_does_not_meet(spec: dict[str, Any], told: str) -> None:
    assert unmet(spec, NODE) == told


def with_purpose(value: str) -> dict[str, Any]:
    return {"metadata": {"name": "n", "labels": {PURPOSE: value}}}


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({"nodeSelector": {PURPOSE: "core"}}, {"none", "core"}),
        ({"nodeSelector": {PURPOSE: "user"}}, {"none", "user"}),
        ({"nodeSelector": {PURPOSE: "other"}}, set()),
        (affinity(term(PURPOSE, "In", "core")), {"none", "core"}),
        (affinity(term(PURPOSE, "In", "user")), {"none", "user"}),
        (affinity(term(PURPOSE, "NotIn", "user")), {"none", "core"}),
        (affinity(term(PURPOSE, "DoesNotExist")), {"none"}),
        ({"nodeSelector": {PURPOSE: "core"}, **affinity(term(PURPOSE, "In", "user"))}, set()),
    ],
)
def test_one_node_serves_both_purposes_unless_it_is_labelled(spec: dict[str, Any], fits: set[str]) -> None:
    nodes = {"none": NODE, "core": with_purpose("core"), "user": with_purpose("user")}
    assert {name for name, node in nodes.items() if not unmet(spec, node)} == fits


def test_what_is_told_of_a_node() -> None:
    assert labels_told(NODE) == f"size=5, zone=a; it serves {PURPOSE}=core and user"
    assert labels_told(with_purpose("core")) == f"{PURPOSE}=core"
    assert labels_told({"metadata": {"name": "n"}}) == f"no labels; it serves {PURPOSE}=core and user"
