"""Strategic merge patch: JSON merge patch that knows which lists merge item by item, and by which key.

The merge strategy and key of each list are the schema's (`x-kubernetes-patch-strategy`, `-merge-key`). Directives:
`$patch: replace|delete|merge` in an object or list item, `$deleteFromPrimitiveList/NAME`, `$setElementOrder/NAME`,
`$retainKeys`. The semantics are those of apimachinery's strategicpatch.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from binderops.kube.schemas import ANY, Schema
from binderops.node.api.objects.fieldset import compact
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
            merge_key = (schema.field(name) or ANY).merge_key
            _check_order(order, [], merge_key)
            merged[name] = _ordered(merged[name], merged[name], order, merge_key)
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
            return (
                _merge_list(live, patch, schema, order) if isinstance(live, list) else _new_list(patch, schema, order)
            )
        return [_without_directives(item) for item in patch]
    return patch


def _merge_list(live: list[Any], patch: list[Any], schema: Schema, order: Any) -> list[Any]:
    """Merged item by item; the patch's items stand in its order, or (`$setElementOrder`) in the order that it gives."""
    key = schema.merge_key
    if not key:
        merged = list({_identity(value, ""): value for value in [*live, *patch]}.values())
    else:
        if any(not isinstance(item, dict) for item in patch):
            raise bad_request("a list that merges by key holds objects only")
        if any(item.get(_PATCH) == "replace" and key not in item for item in patch):
            return [_without_directives(item) for item in patch if item.get(_PATCH) != "replace"]
        gone = {_identity(item, key) for item in patch if item.get(_PATCH) == "delete"}
        live = [item for item in live if _identity(item, key) not in gone]
        patch = [item for item in patch if item.get(_PATCH) != "delete"]
        merged = _merge_items(live, patch, schema)
    merged = _ordered(merged, live, patch, key)
    if order is None:
        return merged
    _check_order(order, patch, key)
    return _ordered(merged, live, order, key)


def _new_list(patch: list[Any], schema: Schema, order: Any) -> list[Any]:
    """A list where there was none: the patch's as it stands, duplicates too."""
    key = schema.merge_key
    if key and any(not isinstance(item, dict) or (key not in item and _PATCH not in item) for item in patch):
        raise bad_request(f"an item does not contain declared merge key: {key}")
    kept = [item for item in patch if not (isinstance(item, dict) and item.get(_PATCH) in ("delete", "replace"))]
    if order is not None:
        _check_order(order, kept, key)
        kept = _ordered(kept, [], order, key)
    return [_without_directives(item) for item in kept]


def _merge_items(live: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    merged = list(live)
    places: dict[str, int] = {}
    for index, item in enumerate(merged):
        places.setdefault(_identity(item, schema.merge_key), index)
    for item in patch:
        directive = item.get(_PATCH)
        if schema.merge_key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {schema.merge_key}")
        if directive not in (None, "merge", "replace"):
            raise bad_request(f"unknown $patch directive: {directive}")
        content = {name: value for name, value in item.items() if name != _PATCH}
        place = places.get(_identity(item, schema.merge_key))
        if place is None:
            places[_identity(item, schema.merge_key)] = len(merged)
            merged.append(_merge_object({}, content, schema.items))
        elif directive == "replace":
            merged[place] = _without_directives(content)
        else:
            merged[place] = _merge_object(merged[place], content, schema.items)
    return merged


def _ordered(items: list[Any], live: list[Any], order: list[Any], key: str) -> list[Any]:
    """Listed items in the order given, others before the listed one that they stood before."""
    wanted, before = _places(order, key), _places(live, key)

    def stood(item: Any) -> int:
        return before.get(_identity(item, key), -1)

    listed = sorted((each for each in items if _identity(each, key) in wanted), key=lambda x: wanted[_identity(x, key)])
    others = deque(sorted((each for each in items if _identity(each, key) not in wanted), key=stood))
    result: list[Any] = []
    for item in listed:
        while others and 0 <= stood(others[0]) < stood(item):
            result.append(others.popleft())
        result.append(item)
    return [*result, *others]


def _check_order(order: Any, patch: list[Any], key: str) -> None:
    if not isinstance(order, list):
        raise bad_request("$setElementOrder is not a list")
    known = _places(order, key)
    if any(_identity(item, key) not in known for item in patch):
        raise bad_request(f"the order in patch list does not match $setElementOrder list: {order}")


def _places(items: list[Any], key: str) -> dict[str, int]:
    result: dict[str, int] = {}
    for index, item in enumerate(items):
        result.setdefault(_identity(item, key), index)
    return result


def _identity(item: Any, key: str) -> str:
    return compact(item.get(key) if key and isinstance(item, dict) else item)


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
