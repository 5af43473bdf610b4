"""FieldsV1 and the sets behind it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.node.api.objects.fieldset import (
    FieldSet,
    Path,
    format_fields,
    key_element,
    parse_fields,
    path_text,
    value_element,
)

NAMES = st.sampled_from(["a", "b", "c", "name", "."]).map(lambda name: f"f:{name}")
KEYS = st.sampled_from(["x", "y"]).map(lambda name: key_element({"name": name, "port": 80}))
VALUES = st.one_of(st.integers(0, 3), st.sampled_from(["x", 'quote"d'])).map(value_element)
INDEXES = st.integers(0, 12).map(lambda index: f"i:{index}")
ELEMENTS = st.one_of(NAMES, KEYS, VALUES, INDEXES)
PATHS = st.lists(ELEMENTS, min_size=1, max_size=5).map(tuple)
SETS = st.lists(PATHS, max_size=12)


@given(SETS)
def test_fields_are_read_as_they_were_written(paths: list[Path]) -> None:
    fields = FieldSet.of(*paths)
    text = json.dumps(format_fields(fields))
    assert parse_fields(json.loads(text)) == fields
    assert json.dumps(format_fields(parse_fields(json.loads(text)))) == text


@given(SETS, SETS)
def test_operations_are_those_of_sets(left: list[Path], right: list[Path]) -> None:
    one, other = FieldSet.of(*left), FieldSet.of(*right)
    assert set((one | other).paths()) == set(left) | set(right)
    assert set((one & other).paths()) == set(left) & set(right)
    assert set((one - other).paths()) == set(left) - set(right)
    assert (one - one).is_empty()


@given(SETS, SETS)
def test_without_trees_leaves_nothing_below(left: list[Path], right: list[Path]) -> None:
    kept = set(FieldSet.of(*left).without_trees(FieldSet.of(*right)).paths())
    below = {path for path in left if any(path[: len(each)] == each for each in right)}
    assert kept == set(left) - below


def test_an_example_of_the_documentation() -> None:
    written = {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:template": {
                "f:spec": {"f:containers": {'k:{"name":"nginx"}': {".": {}, "f:image": {}, "f:name": {}}}},
            }
        },
    }
    fields = parse_fields(written)
    container = ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"nginx"}')
    assert fields.has(container)
    assert fields.has((*container, "f:image"))
    assert not fields.has(("f:spec",))
    assert format_fields(fields) == written


@pytest.mark.parametrize(
    "damaged",
    [{"f:a": 1}, {"x:a": {}}, {"k:notjson": {}}, {"k:{}": {}}, {"i:x": {}}, {"f:a": {"v:[": {}}}],
)
def test_damaged_fields_are_refused(damaged: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        parse_fields(damaged)


def test_endless_nesting_is_refused() -> None:
    nested: dict[str, Any] = {}
    for _ in range(500):
        nested = {"f:a": nested}
    with pytest.raises(ValueError, match="too deep"):
        parse_fields(nested)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("f:spec", "f:replicas"), ".spec.replicas"),
        (("f:spec", 'k:{"name":"nginx"}', "f:image"), '.spec[name="nginx"].image'),
        (("f:ports", 'k:{"containerPort":80,"protocol":"TCP"}'), '.ports[containerPort=80,protocol="TCP"]'),
        (("f:finalizers", 'v:"x"'), '.finalizers[="x"]'),
        (("f:args", "i:3"), ".args[3]"),
    ],
)
def test_paths_are_written_as_conflicts_name_them(path: Path, text: str) -> None:
    assert path_text(path) == text
