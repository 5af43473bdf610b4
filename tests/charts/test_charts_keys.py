"""Each key that is honoured shows where it belongs, and not where it is not set. The rows stand in tests/charts/keys.

Rows that do not contradict one another share a render; what each is compared with is rendered without any of them.
With BINDEROPS_KEYS=alone (`make keys`) it is all the group's keys but the row's own: 500 renders, a minute.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.charts.conftest import FIXED_TOKENS, ROOT, Render, Rendered, at, merge
from tests.charts.keys import binderhub, hub, meta, traits, users, web
from tests.charts.keys.bases import BASES
from tests.charts.keys.elsewhere import IN_A_BINDER, NO_ROW
from tests.charts.keys.page import WITHOUT_EFFECT, listed_keys
from tests.charts.keys.refused import PARTS
from tests.charts.keys.rows import ABSENT, Has, Lacks, Row, Text, found_at, matches, packed
from tests.charts.keys.taken import refusals
from tests.charts.keys.world import World

ROWS: list[Row] = [*meta.ROWS, *binderhub.ROWS, *traits.ROWS, *hub.ROWS, *users.ROWS, *web.ROWS]
GROUPS = packed(ROWS)
CASES = [(number, row) for number, group in enumerate(GROUPS) for row in group]
ALONE = os.environ.get("BINDEROPS_KEYS") == "alone"

MakeWorld = Callable[[str, tuple[Row, ...]], World]


@pytest.fixture(scope="module")
def world(render: Render, tmp_path_factory: pytest.TempPathFactory) -> MakeWorld:
    """world(base, rows): what they make together. Each is rendered once, and fails once."""
    made: dict[tuple[str, tuple[int, ...]], World | Exception] = {}
    folder = tmp_path_factory.mktemp("keys")

    def make(base: str, rows: tuple[Row, ...]) -> World:
        name = (base, tuple(map(id, rows)))
        if name not in made:
            values = merge(BASES[base], *(at(row.key, row.value) for row in rows))
            try:
                made[name] = World(render(values), folder / str(len(made)))
            except Exception as error:
                made[name] = error
        found = made[name]
        if isinstance(found, Exception):
            pytest.fail(f"these keys cannot be rendered together: {found}", pytrace=False)
        return found

    return make


@pytest.mark.parametrize(("group", "row"), CASES, ids=[f"{row.key}@{row.target}" for _, row in CASES])
def test_a_key_shows(world: MakeWorld, group: int, row: Row) -> None:
    rows = tuple(GROUPS[group])
    without = world(row.base, tuple(other for other in rows if other.key != row.key) if ALONE else ()).find(row)
    assert not matches(without, row.expected), f"{row.key} shows where it is not set: {without!r}"
    found = world(row.base, rows).find(row)
    assert matches(found, row.expected), f"{row.key} does not show at {row.target}, {row.place}: {found!r}"


@pytest.mark.parametrize("group", range(len(GROUPS)), ids=[f"{rows[0].key}, {len(rows)}" for rows in GROUPS])
def test_the_api_takes_what_keys_make(world: MakeWorld, group: int) -> None:
    rows = tuple(GROUPS[group])
    assert [words for obj in world(rows[0].base, rows).made for words in refusals(obj)] == []


CHOICES = {
    key: listed.takes.split(", ") for key, listed in listed_keys().items() if listed.shows and ", " in listed.takes
}


@pytest.mark.parametrize("number", range(max(map(len, CHOICES.values()))))
def test_the_api_takes_every_value_of_a_choice(render: Render, tmp_path: Path, number: int) -> None:
    """The first value of each such key in one render, the second of each in another, …"""
    chosen = [at(key, values[number % len(values)]) for key, values in CHOICES.items()]
    made = World(render(BASES["static volume"], *chosen), tmp_path / "hub").made
    assert [words for obj in made for words in refusals(obj)] == []


def untested(shown: Mapping[str, Any], rows: list[Row]) -> list[str]:
    """Keys that change what is rendered, and of which nothing says where that is seen."""
    tested = {key for row in rows for key in (row.key, *row.sets())} | NO_ROW.keys()
    return [key for key in shown if not any(f"{each}.".startswith(f"{key}.") for each in tested)]


def test_every_key_that_shows_has_a_row() -> None:
    shown = {key: listed for key, listed in listed_keys().items() if listed.shows}
    assert untested(shown, ROWS) == [], "give it a row in tests/charts/keys, or name its test in elsewhere.py"
    assert len(shown) > 500


def test_every_setting_of_the_binder_is_seen_in_one() -> None:
    """What shows in the pod of a build alone is seen there; everything else in a binder that runs."""
    in_a_build = {key for row in ROWS if row.target == "Pod of a build" for key in row.sets()}
    settings = [key for key, listed in listed_keys().items() if listed.shows and key.startswith("binderhub.config.")]
    seen = in_a_build | IN_A_BINDER.keys()
    assert [key for key in settings if not any(f"{each}.".startswith(f"{key}.") for each in seen)] == []


def test_the_lists_are_of_keys_and_tests_that_there_are() -> None:
    keys = listed_keys()
    assert [key for key in {**NO_ROW, **IN_A_BINDER} if key not in keys or not keys[key].shows] == []
    for test in {*NO_ROW.values(), *IN_A_BINDER.values()}:
        file, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), test


def test_a_key_without_a_row_is_found() -> None:
    shown = {"binderhub.replicas": None, "binderhub.new": None, "binderhub.resources": None}
    rows = [Row("binderhub.replicas", 3, "x"), Row("binderhub.resources.limits", {"cpu": 1}, "x")]
    assert untested(shown, rows) == ["binderhub.new"]


VALUES = {"string": "x", "integer": 7, "number": 7, "boolean": True, "object": {"a": "b"}, "array": ["x"], "any": "x"}


def test_what_has_no_effect_is_accepted_and_changes_nothing(render: Render) -> None:
    """All at once. Only what the hub and the binder are told of their values differs."""
    silent = {
        key: listed for key, listed in listed_keys().items() if listed.verdict == WITHOUT_EFFECT and not listed.shows
    }
    assert len(silent) > 40
    told = [
        at(key.replace("*", "anything"), VALUES.get(listed.takes.split(" or ")[0], listed.takes.split(", ")[0]))
        for key, listed in silent.items()
    ]
    told += [at(path, {"enabled": False, "own": {"a": "b"}}) for path in PARTS]
    before, after = render(FIXED_TOKENS), render(FIXED_TOKENS, *told)
    assert differing(before, after) <= {("Secret", "hub"), ("Secret", "binder-secret"), *GENERATED}


GENERATED = {("Secret", name) for name in ("registry-token", "registry-pull", "binder-local")}


def differing(before: Rendered, after: Rendered) -> set[tuple[str, str]]:
    """Objects that are not alike, their pods' checksums of what they are told apart."""
    for obj in (*before.values(), *after.values()):
        annotations = found_at(obj, "spec.template.metadata.annotations")
        for name in [] if annotations is ABSENT else [name for name in annotations if name.startswith("checksum/")]:
            del annotations[name]
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


THING = {"a": {"b": 1, "b.c": 2}, "list": [{"name": "one", "value": 3}]}


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("a.b", 1), ("a.b.c", 2), ("list.one.value", 3), ("list.0.name", "one"), ("list.7", ABSENT),
        ("list.two.value", ABSENT), ("nothing.at.all", ABSENT), ("", THING),
    ],
)  # fmt: skip
def test_places(place: str, found: Any) -> None:
    assert found_at(THING, place) == found


@pytest.mark.parametrize(
    ("found", "expected", "matched"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 2}}, True), ({"a": 1}, {"b": 1}, False), (ABSENT, {}, False),
        ([1, 2], Has(2), True), ("a text", Has("text"), True), (ABSENT, Has("x"), False), ([1], Lacks(1), False),
        ([1], Lacks(2), True), (ABSENT, Lacks(2), False), (7, Text("7"), True), (1, True, False),
        (ABSENT, ABSENT, True), (None, ABSENT, False),
    ],
)  # fmt: skip
def test_matching(found: Any, expected: Any, matched: bool) -> None:
    assert matches(found, expected) is matched


def test_rows_that_contradict_one_another_are_rendered_apart() -> None:
    rows = [
        Row("a", {"b": 1}, "x"),
        Row("a.c", 2, "x"),
        Row("a.b", 3, "x"),
        Row("a", [], "x"),
        Row("d", 1, "x", base="y"),
    ]
    assert [[row.key for row in group] for group in packed(rows)] == [["a", "a.c"], ["a.b"], ["a"], ["d"]]
    assert rows[0].sets() == {"a.b": 1}
