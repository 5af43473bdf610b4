"""YAML as Helm reads it, with places; and what Helm would take in silence is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.errors import ValuesError
from binderops.state.documents import parse_document, read_document


def test_every_key_has_its_line() -> None:
    document = parse_document("a: 1\nb:\n  c: [x, {d: 2}]\n", name="v.yaml")
    assert document.values == {"a": 1, "b": {"c": ["x", {"d": 2}]}}
    assert document.place(("b", "c")) == "v.yaml:3"
    assert document.place(("b", "c", "1", "d")) == "v.yaml:3"
    assert document.place(("b", "missing")) == "v.yaml:2"
    assert document.place(("elsewhere",)) == "v.yaml"


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("a: 1\na: 2\n", "v.yaml:2", "stands twice"),
        ("x:\n  y: 1\n  y: 2\n", "v.yaml:3", "x.y stands twice"),
        ("[a]: 1\n", "v.yaml:1", "not text"),
        ("- a\n", "v.yaml:1", "no mapping"),
        ("just text\n", "v.yaml:1", "no mapping"),
        ("a: [1\n", "v.yaml:2", "not valid YAML"),
        ("a: b: c\n", "v.yaml:1", "not valid YAML"),
        ("\ta: 1\n", "v.yaml:1", "not valid YAML"),
    ],
)
def test_bad_yaml_is_answered_with_its_line(text: str, where: str, words: str) -> None:
    with pytest.raises(ValuesError) as caught:
        parse_document(text, name="v.yaml")
    assert caught.value.where == where
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "null\n"])
def test_empty_files_are_empty(text: str) -> None:
    assert parse_document(text, name="v.yaml").values == {}


def test_a_missing_file_and_one_that_is_not_text(tmp_path: Path) -> None:
    with pytest.raises(ValuesError, match="is missing"):
        read_document(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValuesError, match="not UTF-8"):
        read_document(tmp_path / "binary.yaml")


@given(st.text(max_size=200))
def test_any_text_gives_values_or_an_answer(text: str) -> None:
    try:
        document = parse_document(text, name="any.yaml")
    except ValuesError as error:
        assert error.where is not None and error.where.startswith("any.yaml")
    else:
        assert isinstance(document.values, dict)
