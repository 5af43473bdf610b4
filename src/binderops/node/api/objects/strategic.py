"""Strategic merge patch: JSON merge patch that knows which lists merge item by item, and by which key.

The merge strategy and key of each list are the schema's (`x-kubernetes-patch-strategy`, `-merge-key`). Directives:
`$patch: replace|delete|merge` in an object or list item, `$deleteFromPrimitiveList/NAME`, `$setElementOrder/NAME`,
`$retainKeys`. The semantics are those of apimachinery's strategicpatch.
"""

from __future__ import annotations

from typing import Any

from binderops.kube.schemas import ANY, Schema
from binderops.node.api.objects.status import Object, bad_request
from binderops.node.api.objects.typed import same

_PATCH = "$patch"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_RETAIN = "$retainKeys"


def strategic_merge(live: Object, patch: Object, *, schema: Schema) -> Object:
    """The live object with a patch merged in. InvalidError 400 for directives that cannot be followed."""
    return _merge_object(live, patch, schema)


def _merge_object(live: Object, patch: Object, schema: Schema) -> Object:
    directive = patch.get(_PATCH)
    if directive == "replace":
        return {key: _without_directives(value) for key, value in patch.items() if key != _PATCH and value is not None}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown $patch directive: {directive}")
    merged = _retained(dict(live), patch)
    merged = _deleted_from_lists(merged, patch)
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            merged.pop(key, None)
            continue
        field = schema.field(key) or ANY
        merged[key] = _merge_value(merged.get(key), value, field, order=patch.get(_ORDER + key))
    for key, order in patch.items():
        name = key.removeprefix(_ORDER)
        if name != key and name not in patch and isinstance(merged.get(name), list):
            merged[name] = _ordered(merged[name], merged[name], order, [], schema.field(name) or ANY)
    return merged


def _retained(merged: Object, patch: Object) -> Object:
    """`$retainKeys`: only these keys stay; each key that the patch sets must be among them."""
    if _RETAIN not in patch:
        return merged
    kept = _names(patch[_RETAIN], _RETAIN)
    for key, value in patch.items():
        if not key.startswith("$") and value is not None and key not in kept:
            raise bad_request(f"the key {key} is set by the patch, but is not in its $retainKeys list")
    return {key: value for key, value in merged.items() if key in kept}


def _deleted_from_lists(merged: Object, patch: Object) -> Object:
    for key, values in patch.items():
        name = key.removeprefix(_DELETE_FROM)
        if name == key:
            continue
        if not isinstance(values, list):
            raise bad_request(f"{key} is not a list")
        current = merged.get(name)
        if isinstance(current, list):
            merged = {**merged, name: [each for each in current if not any(same(each, value) for value in values)]}
    return merged


def _merge_value(live: Any, patch: Any, schema: Schema, *, order: Any) -> Any:
    if isinstance(patch, dict):
        if isinstance(live, dict) and "replace" not in schema.patch_strategy:
            return _merge_object(live, patch, schema)
        return _merge_object({}, patch, schema)
    if isinstance(patch, list):
        if "merge" in schema.patch_strategy:
            return _merge_list(live if isinstance(live, list) else [], patch, schema, order)
        return [_without_directives(item) for item in patch]
    return patch


def _merge_list(live: list[Any], patch: list[Any], schema: Schema, order: Any) -> list[Any]:
    if not schema.merge_key:
        added = [value for value in patch if not any(same(value, each) for each in live)]
        return _ordered([*live, *_unique(added)], live, order, patch, schema)
    if any(not isinstance(item, dict) for item in patch):
        raise bad_request("a list that merges by key holds objects only")
    if any(item.get(_PATCH) == "replace" and schema.merge_key not in item for item in patch):
        rest = [item for item in patch if item.get(_PATCH) != "replace"]
        return [_without_directives(item) for item in rest]
    merged = list(live)
    for item in patch:
        merged = _merge_item(merged, item, schema)
    return _ordered(merged, live, order, patch, schema)


def _merge_item(merged: list[Any], item: Object, schema: Schema) -> list[Any]:
    key = schema.merge_key
    directive = item.get(_PATCH)
    if key not in item:
        raise bad_request(f"map: {item} does not contain declared merge key: {key}")
    places = [index for index, each in enumerate(merged) if isinstance(each, dict) and same(each.get(key), item[key])]
    if directive == "delete":
        return [each for index, each in enumerate(merged) if index not in places]
    if directive not in (None, "merge", "replace"):
        raise bad_request(f"unknown $patch directive: {directive}")
    content = {name: value for name, value in item.items() if name != _PATCH}
    if not places:
        return [*merged, _merge_object({}, content, schema.items)]
    first = places[0]
    replaced = (
        _without_directives(content) if directive == "replace" else _merge_object(merged[first], content, schema.items)
    )
    return [*merged[:first], replaced, *merged[first + 1 :]]


def _ordered(items: list[Any], live: list[Any], order: Any, patch: list[Any], schema: Schema) -> list[Any]:
    """By `$setElementOrder`: listed items in its order, others before the listed one that they stood before."""
    if order is None:
        return items
    if not isinstance(order, list):
        raise bad_request("$setElementOrder is not a list")
    key = schema.merge_key

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [identity(item) for item in order]
    for item in patch:
        if not any(same(identity(item), each) for each in wanted) and not _is_deletion(item):
            raise bad_request(f"the order in patch list does not match $setElementOrder list: {order}")

    def place(item: Any, among: list[Any]) -> int:
        return next((index for index, each in enumerate(among) if same(identity(item), each)), -1)

    before = [identity(item) for item in live]
    listed = sorted((item for item in items if place(item, wanted) >= 0), key=lambda item: place(item, wanted))
    others = sorted((item for item in items if place(item, wanted) < 0), key=lambda item: place(item, before))
    result: list[Any] = []
    while listed and others:
        stood, stands = place(others[0], before), place(listed[0], before)
        result.append(others.pop(0) if 0 <= stood < stands else listed.pop(0))
    return [*result, *listed, *others]


def _is_deletion(item: Any) -> bool:
    return isinstance(item, dict) and item.get(_PATCH) in ("delete", "replace")


def _unique(values: list[Any]) -> list[Any]:
    result: list[Any] = []
    for value in values:
        if not any(same(value, each) for each in result):
            result.append(value)
    return result


def _names(value: Any, directive: str) -> list[str]:
    if not isinstance(value, list) or any(not isinstance(each, str) for each in value):
        raise bad_request(f"{directive} is not a list of names")
    return value


def _without_directives(value: Any) -> Any:
    """A value taken whole: directives mean nothing in it, and nulls are absence."""
    if isinstance(value, dict):
        return {
            key: _without_directives(content)
            for key, content in value.items()
            if content is not None and not key.startswith("$")
        }
    if isinstance(value, list):
        return [_without_directives(item) for item in value]
    return value
