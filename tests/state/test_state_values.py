"""Layers merge as Helm merges --values files: held against Helm's own merge of a chart without defaults."""

from __future__ import annotations

from typing import Any

import helm_python
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.state.documents import parse_document
from binderops.state.values import Layers, get_path, leaves, merge_documents, set_path

KEYS = st.sampled_from(["a", "b", "c"])
SCALARS = st.one_of(
    st.integers(-5, 5), st.booleans(), st.text("xyz", max_size=3), st.lists(st.integers(0, 3), max_size=2)
)
TREES = st.recursive(
    st.dictionaries(KEYS, SCALARS, max_size=3),
    lambda inner: st.dictionaries(KEYS, inner | SCALARS, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("layers", "merged"),
    [
        ([{"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}], {"a": {"x": 1, "y": 3}}),
        ([{"a": [1, 2]}, {"a": [3]}], {"a": [3]}),
        ([{"a": {"x": 1}}, {"a": None}], {"a": None}),
        ([{"a": {"x": 1}}, {"a": "text"}], {"a": "text"}),
        ([{"a": "text"}, {"a": {"x": 1}}], {"a": {"x": 1}}),
        ([{}, {"b": 1}], {"b": 1}),
    ],
)
def test_merging(layers: list[dict[str, Any]], merged: dict[str, Any]) -> None:
    assert merge_documents(layers) == merged


@given(first=TREES, second=TREES)
def test_our_merge_is_what_helm_makes_of_defaults_and_values(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert merge_documents([first, second]) == _helm_merge(first, second)


def _helm_merge(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    import io
    import json
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        files = {"x/Chart.yaml": "apiVersion: v2\nname: x\nversion: 1.0.0\n", "x/values.yaml": json.dumps(defaults)}
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    with helm_python.Chart.load_archive(buffer.getvalue()) as chart:
        return chart.merge_values(values)


def test_the_origin_of_a_key_is_the_layer_that_wins() -> None:
    layers = Layers(
        (parse_document("a: {x: 1}\nb: 1\n", name="low.yaml"), parse_document("\na:\n  x: 2\n", name="high.yaml"))
    )
    assert layers.merged == {"a": {"x": 2}, "b": 1}
    assert layers.origin(("a", "x")) == "high.yaml:3"
    assert layers.origin(("b",)) == "low.yaml:2"
    assert layers.origin(("c",)) is None


@given(tree=TREES)
def test_leaves_and_paths_tell_the_same(tree: dict[str, Any]) -> None:
    rebuilt: dict[str, Any] = {}
    for path, value in leaves(tree):
        assert get_path(tree, ".".join(path)) == value
        set_path(rebuilt, ".".join(path), value)
    assert rebuilt == tree
