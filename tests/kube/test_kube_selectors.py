"""Label and field selectors: text and objects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.kube.selectors import (
    from_label_selector,
    from_labels,
    matches_fields,
    parse_fields,
    parse_labels,
)

LABELS = {"app": "hub", "tier": "2", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app", True),
        ("!app", False),
        ("other", False),
        ("! other", True),
        ("app=hub", True),
        ("app==hub,tier=2", True),
        ("app = hub , tier != 3", True),
        ("app!=hub", False),
        ("other!=x", True),
        ("app in (hub, proxy)", True),
        ("app in (proxy)", False),
        ("app notin (proxy),tier in (1,2)", True),
        ("other notin (x)", True),
        ("empty=", True),
        ("empty in ()", True),
        ("app=", False),
        ("tier>1", True),
        ("tier < 2", False),
        ("app > 1", False),
        ("in=1", False),
    ],
)
def test_text(text: str, matches: bool) -> None:
    assert parse_labels(text).matches(LABELS) is matches
    assert parse_labels(str(parse_labels(text))).matches(LABELS) is matches


@pytest.mark.parametrize(
    "text", ["=", "app in", "app in (", "app in hub", "app=a b", "a,", ",a", "!", "a>x", "a b", "a(b"]
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_labels(text)


def test_label_selector_objects() -> None:
    expressions = [{"key": "tier", "operator": "In", "values": ["2"]}, {"key": "gone", "operator": "DoesNotExist"}]
    assert from_label_selector({"matchLabels": {"app": "hub"}, "matchExpressions": expressions}).matches(LABELS)
    assert from_label_selector({}).matches(LABELS)
    assert not from_label_selector(None).matches(LABELS)
    assert not from_labels(None).matches(LABELS)
    assert from_labels({"app": "hub"}).matches(LABELS)
    with pytest.raises(ValueError, match="Near"):
        from_label_selector({"matchExpressions": [{"key": "a", "operator": "Near"}]})


def test_fields() -> None:
    pod = {"metadata": {"name": "a"}, "spec": {"hostNetwork": True}, "status": {"phase": "Running"}}
    assert matches_fields(parse_fields("metadata.name=a,status.phase!=Failed"), pod)
    assert matches_fields(parse_fields("spec.hostNetwork==true"), pod)
    assert matches_fields(parse_fields("spec.nodeName="), pod)
    assert not matches_fields(parse_fields("metadata.name=b"), pod)
    with pytest.raises(ValueError, match="field selector"):
        parse_fields("metadata.name")


NAMES = st.from_regex(r"[a-z][a-z0-9./-]{0,10}", fullmatch=True).filter(lambda name: name not in ("in", "notin"))


@given(st.dictionaries(NAMES, NAMES, min_size=1, max_size=4))
def test_a_selector_of_labels_survives_its_text(labels: dict[str, str]) -> None:
    selector = from_labels(labels)
    assert parse_labels(str(selector)) == selector
    assert selector.matches(labels)


@given(st.text(max_size=20))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        selector = parse_labels(text)
    except ValueError:
        return
    assert isinstance(selector.matches(LABELS), bool)
