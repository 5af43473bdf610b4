"""A row says of one key: what to set, and where in a release it must then be seen.

    Row("binderhub.replicas", 3, "Deployment binder", "spec.replicas")

A value that is a map sets every key in it. A place is dotted; in a list, a number is an index, and a word the entry of
that name. What is seen is the value itself unless the row says else: a map must be part of what is found, `Has` one
of a list's entries or part of a text, `AMONG` the only entry of the value among others, `ABSENT` nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from binderops.state.values import leaves

# By what an entry of a list is named.
_NAMES = ("name", "mountPath", "key", "secretName", "host", "path", "cidr")


class _Sentinel:
    def __init__(self, words: str) -> None:
        self._words = words

    def __repr__(self) -> str:
        return self._words


ABSENT = _Sentinel("ABSENT")
THE_VALUE = _Sentinel("THE_VALUE")
AMONG = _Sentinel("AMONG")


@dataclass(frozen=True)
class Has:
    """A list that has this entry, or a text with this part."""

    what: Any


@dataclass(frozen=True)
class Lacks:
    """A list without this entry, or a text without this part."""

    what: Any


@dataclass(frozen=True)
class Text:
    """Anything whose text is this."""

    what: str


@dataclass(frozen=True)
class Row:
    """One key, or the keys of one map. `base` names what is rendered besides, `apart` a render for such rows alone."""

    key: str
    value: Any
    target: str
    place: str = ""
    seen: Any = THE_VALUE
    base: str = "on"
    apart: str = ""

    @property
    def expected(self) -> Any:
        """What its place must show."""
        if self.seen is AMONG:
            return Has(self.value[0])
        return self.value if self.seen is THE_VALUE else self.seen

    def sets(self) -> dict[str, Any]:
        """Each key that it sets, with its value."""
        return {".".join(path): value for path, value in leaves({self.key: self.value})}


def below(prefix: str, rows: Iterable[Row], **more: Any) -> list[Row]:
    """Rows of one chart."""
    return [replace(row, key=prefix + row.key, **more) for row in rows]


def found_at(thing: Any, place: str) -> Any:
    """What stands at a place; ABSENT where nothing does."""
    return _at(thing, place.split(".") if place else [])


def _at(thing: Any, parts: list[str]) -> Any:
    if not parts or thing is ABSENT:
        return thing
    if isinstance(thing, list | tuple) and parts[0].isdigit():
        return _at(thing[int(parts[0])], parts[1:]) if int(parts[0]) < len(thing) else ABSENT
    # Names have dots: the longest one that is there.
    for end in range(len(parts), 0, -1):
        inner = _named(thing, ".".join(parts[:end]))
        if inner is not ABSENT:
            return _at(inner, parts[end:])
    return ABSENT


def _named(thing: Any, name: str) -> Any:
    if isinstance(thing, Mapping):
        return thing.get(name, ABSENT)
    if isinstance(thing, list | tuple):
        named = (item for item in thing if isinstance(item, Mapping) and name in (item.get(key) for key in _NAMES))
        return next(named, ABSENT)
    return getattr(thing, name, ABSENT)


def matches(found: Any, expected: Any) -> bool:
    """Whether what was found is what a row expects."""
    if isinstance(expected, Has):
        return not isinstance(found, _Sentinel) and expected.what in found
    if isinstance(expected, Lacks):
        return not isinstance(found, _Sentinel) and expected.what not in found
    if isinstance(expected, Text):
        return str(found) == expected.what
    if isinstance(expected, Mapping):
        return isinstance(found, Mapping) and all(
            key in found and matches(found[key], item) for key, item in expected.items()
        )
    return bool(found == expected) and isinstance(found, bool) == isinstance(expected, bool)


def packed(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows that one render can show together: the same base, and no key set to two values."""
    groups: list[tuple[tuple[str, str], dict[str, Any], list[Row]]] = []
    for row in rows:
        for kind, given, members in groups:
            if kind == (row.base, row.apart) and _fits(row.sets(), given):
                given.update(row.sets())
                members.append(row)
                break
        else:
            groups.append(((row.base, row.apart), row.sets(), [row]))
    return [members for _, _, members in groups]


def _fits(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether no key of `wanted` has another value in `given`, or is a map there."""
    for key, value in wanted.items():
        if key in given and given[key] != value:
            return False
        if any(other != key and f"{other}.".startswith(f"{key}.") for other in given):
            return False
        parts = key.split(".")
        if any(".".join(parts[:end]) in given for end in range(1, len(parts))):
            return False
    return True
