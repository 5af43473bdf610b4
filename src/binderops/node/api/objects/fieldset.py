"""Sets of field paths, and FieldsV1, the form in which `managedFields` carries them.

A path is a sequence of elements, each kept as FieldsV1 writes it: `f:NAME` a field or a map's key, `k:{"name":"x"}` an
item of an associative list by its keys, `v:VALUE` an item of a set, `i:N` a list's index. A path is a *member* where
somebody owns that very place (`.`, or an empty object at a leaf); owning something below it is no membership.
The semantics are those of structured-merge-diff's fieldpath.Set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import orjson

from binderops.kube.schemas import Schema

Path = tuple[str, ...]

MAX_DEPTH = 100
"""Deeper than any object of the API nests; deeper input is refused, so that no walk here runs out of stack."""


class FieldSet:
    """A set of paths, as a tree. Operations return new sets; `insert` alone changes one."""

    __slots__ = ("children", "members")

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.children: dict[str, FieldSet] = {}

    @classmethod
    def of(cls, *paths: Path) -> FieldSet:
        """A set of these paths."""
        result = cls()
        for path in paths:
            result.insert(path)
        return result

    def insert(self, path: Path) -> None:
        """Add a path (an empty one is nothing)."""
        if not path:
            return
        node = self
        for element in path[:-1]:
            node = node.children.setdefault(element, FieldSet())
        node.members.add(path[-1])

    def is_empty(self) -> bool:
        """Whether it has no path."""
        return not self.members and all(child.is_empty() for child in self.children.values())

    def has(self, path: Path) -> bool:
        """Whether this very path is a member."""
        node: FieldSet | None = self
        for element in path[:-1]:
            node = node.children.get(element) if node else None
        return bool(node and path and path[-1] in node.members)

    def below(self, element: str) -> FieldSet:
        """The paths below one element, without it."""
        return self.children.get(element, _EMPTY)

    def paths(self, prefix: Path = ()) -> Iterator[Path]:
        """All paths, in order."""
        for element in sorted(self.members | self.children.keys(), key=_order):
            if element in self.members:
                yield (*prefix, element)
            if element in self.children:
                yield from self.children[element].paths((*prefix, element))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSet) and set(self.paths()) == set(other.paths())

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: FieldSet) -> FieldSet:
        """The paths of either."""
        result = FieldSet()
        result.members = self.members | other.members
        for element in self.children.keys() | other.children.keys():
            mine, theirs = self.children.get(element), other.children.get(element)
            result.children[element] = mine | theirs if mine and theirs else (mine or theirs or _EMPTY)
        return result

    def __and__(self, other: FieldSet) -> FieldSet:
        """The paths of both."""
        result = FieldSet()
        result.members = self.members & other.members
        for element in self.children.keys() & other.children.keys():
            result._keep(element, self.children[element] & other.children[element])
        return result

    def __sub__(self, other: FieldSet) -> FieldSet:
        """The paths of this that are not paths of the other; what lies below a removed path stays."""
        result = FieldSet()
        result.members = self.members - other.members
        for element, child in self.children.items():
            theirs = other.children.get(element)
            result._keep(element, child - theirs if theirs else child)
        return result

    def without_trees(self, other: FieldSet) -> FieldSet:
        """The paths of this that are neither paths of the other nor below one."""
        result = FieldSet()
        result.members = self.members - other.members
        for element, child in self.children.items():
            if element not in other.members:
                theirs = other.children.get(element)
                result._keep(element, child.without_trees(theirs) if theirs else child)
        return result

    def with_named_fields(self, schema: Schema) -> FieldSet:
        """This, and each object's named field that something is owned below.

        So that removing the last thing below a field removes the field, and does not leave it empty.
        """
        result = FieldSet()
        result.members = self.members | {
            element for element in self.children if element[:2] == "f:" and schema.has_field(element[2:])
        }
        result.children = {
            element: child.with_named_fields(_descend(schema, element)) for element, child in self.children.items()
        }
        return result

    def _keep(self, element: str, child: FieldSet) -> None:
        if child.members or child.children:
            self.children[element] = child


_EMPTY = FieldSet()


def parse_fields(fields: Mapping[str, Any], depth: int = 0) -> FieldSet:
    """FieldsV1 to a set. ValueError for what is not FieldsV1."""
    if depth > MAX_DEPTH:
        raise ValueError("FieldsV1 nests too deep")
    result = FieldSet()
    for key, value in fields.items():
        if not isinstance(value, Mapping):
            raise ValueError(f"FieldsV1: {key!r} has no object")
        if key == ".":
            continue
        element = _canonical(key)
        if "." in value or not value:
            result.members.add(element)
        child = parse_fields(value, depth + 1)
        result._keep(element, child)
    return result


def format_fields(fields: FieldSet) -> dict[str, Any]:
    """A set to FieldsV1, in its order (field names, keys, values, indexes)."""
    result: dict[str, Any] = {}
    for element in sorted(fields.members | fields.children.keys(), key=_order):
        child = fields.children.get(element)
        if child is None or child.is_empty():
            if element in fields.members:
                result[element] = {}
            continue
        own: dict[str, Any] = {".": {}} if element in fields.members else {}
        result[element] = own | format_fields(child)
    return result


def field_element(name: str) -> str:
    """The element of an object's field or a map's key."""
    return f"f:{name}"


def key_element(keys: Mapping[str, Any]) -> str:
    """The element of an associative list's item."""
    return f"k:{compact(keys)}"


def value_element(value: Any) -> str:
    """The element of a set's item."""
    return f"v:{compact(value)}"


def compact(value: Any) -> str:
    """JSON text, the same for equal values."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # a number of more than 64 bits, half a surrogate pair
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def path_text(path: Path) -> str:
    """A path as conflicts name it: `.spec.containers[name="nginx"].image`."""
    return "".join(_element_text(element) for element in path)


def _element_text(element: str) -> str:
    kind, content = element[:2], element[2:]
    if kind == "f:":
        return f".{content}"
    if kind == "k:":
        keys = json.loads(content)
        return "[" + ",".join(f"{name}={compact(keys[name])}" for name in sorted(keys)) + "]"
    return f"[={content}]" if kind == "v:" else f"[{content}]"


@lru_cache(maxsize=8192)
def _canonical(element: str) -> str:
    kind, content = element[:2], element[2:]
    match kind:
        case "f:":
            return element
        case "k:" | "v:":
            value = json.loads(content)
            if kind == "k:" and not (isinstance(value, dict) and value):
                raise ValueError(f"FieldsV1: {element!r} has no keys")
            return kind + compact(value)
        case "i:":
            return f"i:{int(content)}"
    raise ValueError(f"FieldsV1: {element!r} is none of f:, k:, v:, i:")


_ORDER = {"f:": 0, "k:": 1, "v:": 2, "i:": 3}


def _order(element: str) -> tuple[int, int, str]:
    kind = element[:2]
    return _ORDER[kind], int(element[2:]) if kind == "i:" else 0, element


def _descend(schema: Schema, element: str) -> Schema:
    if element[:2] == "f:":
        return schema.field(element[2:]) or _ANY
    return schema.items if schema.type == "array" else _ANY


_ANY = Schema({})
