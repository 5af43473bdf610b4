"""What server-side apply does with values: which fields an object has, how two compare, merge, and lose fields.

The rules are those of structured-merge-diff's typed values. Maps and objects merge field by field unless they are
atomic; lists are atomic unless they are sets or associative (`x-kubernetes-list-type`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from binderops.kube.schemas import ANY, Schema
from binderops.node.api.objects.fieldset import FieldSet, Path, field_element, key_element, path_text, value_element


class TypedError(ValueError):
    """A value that cannot be told apart by its type: a missing key, a duplicate item, an undeclared field."""


@dataclass
class Comparison:
    """How a new value differs from an old one."""

    added: FieldSet = field(default_factory=FieldSet)
    modified: FieldSet = field(default_factory=FieldSet)
    removed: FieldSet = field(default_factory=FieldSet)

    def without_trees(self, ignored: FieldSet) -> Comparison:
        """The difference without ignored fields and what lies below them."""
        return Comparison(*(each.without_trees(ignored) for each in (self.added, self.modified, self.removed)))


def field_set(value: Any, schema: Schema) -> FieldSet:
    """The fields that a value has: what an apply of it owns."""
    result = FieldSet()
    _collect(value, schema, (), result)
    return result


def _collect(value: Any, schema: Schema, path: Path, into: FieldSet) -> None:
    if isinstance(value, dict) and not schema.atomic:
        for key, content in value.items():
            below = (*path, field_element(key))
            _collect(content, schema.field(key) or ANY, below, into)
            if content is None or content == {} or not schema.has_field(key):
                into.insert(below)
    elif isinstance(value, list) and is_associative(schema):
        for element, items in indexed(value, schema).items():
            below = (*path, element)
            if len(items) == 1:
                _collect(items[0], schema.items, below, into)
            into.insert(below)
    elif value is not None or schema.type not in ("object", "map", "array") or schema.atomic:
        into.insert(path)


def compare(old: Any, new: Any, schema: Schema) -> Comparison:
    """How `new` differs from `old`, by the fields that anybody could own."""
    result = Comparison()
    _compare(old, new, schema, (), result)
    return result


_ABSENT = object()


def _compare(old: Any, new: Any, schema: Schema, path: Path, result: Comparison) -> None:
    # Two empty ones are a leaf: the difference between null and empty is kept account of.
    empty = old in (_ABSENT, None, {}, []) and new in (_ABSENT, None, {}, [])
    maps = (isinstance(old, dict) or isinstance(new, dict)) and not schema.atomic and not empty
    lists = (isinstance(old, list) or isinstance(new, list)) and is_associative(schema) and not empty
    if maps and _container(old, dict) and _container(new, dict):
        mine, theirs = _fields(old), _fields(new)
        for key in dict.fromkeys([*mine, *theirs]):
            below = (*path, field_element(key))
            child = schema.field(key) or ANY
            _compare(mine.get(key, _ABSENT), theirs.get(key, _ABSENT), child, below, result)
    elif lists and _container(old, list) and _container(new, list):
        _compare_lists(old, new, schema, path, result)
    else:
        _note(old, new, path, result, leaf=True)
        return
    _note(old, new, path, result, leaf=False)


def _compare_lists(old: Any, new: Any, schema: Schema, path: Path, result: Comparison) -> None:
    mine = indexed(old, schema) if isinstance(old, list) else {}
    theirs = indexed(new, schema) if isinstance(new, list) else {}
    for element in dict.fromkeys([*mine, *theirs]):
        left, right = mine.get(element, []), theirs.get(element, [])
        below = (*path, element)
        if len(left) <= 1 and len(right) <= 1:
            first, second = left[0] if left else _ABSENT, right[0] if right else _ABSENT
            _compare(first, second, schema.items, below, result)
        elif not left:
            result.added.insert(below)
        elif not right:
            result.removed.insert(below)
        elif not same(left, right):
            result.modified.insert(below)


def _note(old: Any, new: Any, path: Path, result: Comparison, *, leaf: bool) -> None:
    if old is _ABSENT:
        result.added.insert(path)
    elif new is _ABSENT:
        result.removed.insert(path)
    elif leaf and not same(old, new):
        result.modified.insert(path)


def _container(value: Any, kind: type) -> bool:
    return value is _ABSENT or value is None or isinstance(value, kind)


def _fields(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def same(old: Any, new: Any) -> bool:
    """Equality of JSON values: 1 equals 1.0, but not true."""
    if isinstance(old, bool) != isinstance(new, bool):
        return False
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    return bool(old == new)


def merge(live: Any, applied: Any, schema: Schema) -> Any:
    """What an apply makes of a live value: the applied fields, and all others as they were."""
    if isinstance(applied, dict) and isinstance(live, dict) and applied and not schema.atomic:
        merged = dict(live)
        for key, value in applied.items():
            merged[key] = merge(live[key], value, schema.field(key) or ANY) if key in live else value
        return merged
    if isinstance(applied, list) and isinstance(live, list) and is_associative(schema):
        return _merge_lists(live, applied, schema)
    if not applied and applied in (None, {}, []) and live and _is_granular(live, schema):
        return live  # an empty map or list, or null, says nothing of what others put into it
    return applied


def _is_granular(value: Any, schema: Schema) -> bool:
    return (isinstance(value, dict) and not schema.atomic) or (isinstance(value, list) and is_associative(schema))


def _merge_lists(live: list[Any], applied: list[Any], schema: Schema) -> list[Any]:
    """Items keep their live order, except that applied ones stand in the order of the apply."""
    ours, theirs = indexed(applied, schema), indexed(live, schema)
    if any(len(items) > 1 for items in ours.values()):
        raise TypedError("duplicate entries")
    left, right = [item_element(item, schema) for item in live], list(ours)
    shared = iter([element for element in right if element in theirs])
    wanted = next(shared, None)
    merged: set[str] = set()
    out: list[Any] = []
    at_left = at_right = 0

    def take(element: str) -> None:
        others = theirs.get(element, [])
        item = ours[element][0]
        out.append(merge(others[0], item, schema.items) if len(others) == 1 else item)
        merged.add(element)

    while at_left < len(left) or at_right < len(right):
        if at_left < len(left) and at_right < len(right):
            element = left[at_left]
            if element == right[at_right]:
                take(element)
                at_left, at_right = at_left + 1, at_right + 1
                wanted = next(shared, None)
                continue
            if element in ours and wanted is not None and wanted != element:
                at_left += 1
                continue
        if at_left < len(left):
            element = left[at_left]
            if element not in ours:
                out.append(live[at_left])
                at_left += 1
                continue
            if element in merged:
                at_left += 1
        if at_right < len(right):
            element = right[at_right]
            take(element)
            at_right += 1
            if element == wanted:
                wanted = next(shared, None)
    return out


def remove(value: Any, fields: FieldSet, schema: Schema) -> Any:
    """A value without these fields. What becomes empty by it becomes None."""
    if isinstance(value, dict) and value and not schema.atomic:
        kept = {}
        for key, content in value.items():
            element = field_element(key)
            if element not in fields.members:
                below = fields.children.get(element)
                kept[key] = remove(content, below, schema.field(key) or ANY) if below else content
        return kept or None
    if isinstance(value, list) and value and is_associative(schema):
        items = []
        for item in value:
            element = item_element(item, schema)
            if element not in fields.members:
                below = fields.children.get(element)
                items.append(remove(item, below, schema.items) if below else item)
        return items or None
    return value


def is_associative(schema: Schema) -> bool:
    """Whether a list's items are told apart, by keys or (sets) by value."""
    return schema.type == "array" and schema.list_type in ("map", "set")


def indexed(items: list[Any], schema: Schema) -> dict[str, list[Any]]:
    """A list's items by their path elements, in order; more than one where they are duplicates."""
    result: dict[str, list[Any]] = {}
    for item in items:
        result.setdefault(item_element(item, schema), []).append(item)
    return result


def item_element(item: Any, schema: Schema) -> str:
    """The path element of an item of an associative list: its keys, with their defaults, or (sets) its value."""
    if schema.list_type == "set":
        return value_element(item)
    if not isinstance(item, dict):
        raise TypedError("associative list with keys has an element that is not a map")
    keys: dict[str, Any] = {}
    for name in schema.map_keys:
        value = item.get(name)
        if value is None:
            value = _key_default(schema, name)
        if value is None:
            raise TypedError(
                f'associative list with keys has an element that omits key field "{name}"'
                " (and doesn't have default value)"
            )
        keys[name] = value
    return key_element(keys)


def _key_default(schema: Schema, name: str) -> Any:
    key = schema.items.field(name)
    return key.default if key is not None else None


def problems(value: Any, schema: Schema, path: Path = ()) -> Iterator[str]:
    """Why a value cannot be applied: undeclared fields, items without keys, duplicate items."""
    if isinstance(value, dict) and schema.type in ("object", "map", "any"):
        for key, content in value.items():
            below = (*path, field_element(key))
            child = schema.field(key)
            if child is None:
                yield f"{path_text(below)}: field not declared in schema"
            else:
                yield from problems(content, child, below)
    elif isinstance(value, list) and is_associative(schema):
        yield from _list_problems(value, schema, path)
    elif isinstance(value, list) and schema.type == "array":
        for index, item in enumerate(value):
            yield from problems(item, schema.items, (*path, f"i:{index}"))
    elif value is not None and (mismatch := _mismatch(value, schema)):
        yield f"{path_text(path)}: {mismatch}"


def _list_problems(items: list[Any], schema: Schema, path: Path) -> Iterator[str]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        try:
            element = item_element(item, schema)
        except TypedError as error:
            yield f"{path_text(path)}: element {index}: {error}"
            continue
        if element in seen:
            yield f"{path_text(path)}: duplicate entries for key {path_text((element,))}"
        seen.add(element)
        yield from problems(item, schema.items, (*path, element))


def _mismatch(value: Any, schema: Schema) -> str:
    match schema.type:
        case "object" | "map":
            return f"expected map, got {value!r}" if not isinstance(value, dict) else ""
        case "array":
            return f"expected list, got {value!r}" if not isinstance(value, list) else ""
        case "string":
            return f"expected string, got {value!r}" if not isinstance(value, str) else ""
        case "boolean":
            return f"expected boolean, got {value!r}" if not isinstance(value, bool) else ""
        case "integer" | "number":
            fits = isinstance(value, int | float) and not isinstance(value, bool)
            return "" if fits else f"expected numeric (int or float), got {value!r}"
    return ""
