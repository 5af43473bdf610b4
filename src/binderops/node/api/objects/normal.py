"""The form in which kube-apiserver holds an object: as if read into Go's types and written again.

A null is absence (in a map of strings an empty string), a struct that is not a pointer is always there
(`resources: {}`, `status: {}`), quantities are written canonically. `managedFields` and stored objects depend on it.
"""

from __future__ import annotations

from typing import Any

from binderops.kube.quantity import canonical
from binderops.kube.schemas import ANY, Schema
from binderops.node.api.objects.status import Object

_ZERO: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "quantity": "0"}


def normal(value: Any, schema: Schema) -> Any:
    """The value in its normal form; a new one, the given is left alone."""
    if isinstance(value, dict):
        if schema.type == "any":
            return dict(value)
        return _normal_fields(value, schema)
    if isinstance(value, list):
        items = schema.items if schema.type == "array" else ANY
        return [normal(item, items) if item is not None else _zero(items) for item in value]
    if schema.type == "quantity" and value is not None:
        return _canonical(value)
    if schema.type == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def without_nulls(value: Any, schema: Schema) -> Any:
    """Like `normal`, but without filling in empty structs: what a patch or a removal left null goes."""
    if isinstance(value, dict) and schema.type != "any":
        kept = {}
        for key, content in value.items():
            if content is not None:
                kept[key] = without_nulls(content, schema.field(key) or ANY)
            elif schema.type == "map" and schema.values.type in _ZERO:
                kept[key] = _zero(schema.values)
        return kept
    if isinstance(value, list):
        items = schema.items if schema.type == "array" else ANY
        return [without_nulls(item, items) for item in value]
    return value


def empty_object(like: Object, schema: Schema) -> Object:
    """What a new object of a kind holds before any field is set: Go's zero value, which creates are compared with."""
    return {**_zero_struct(schema), "apiVersion": like.get("apiVersion"), "kind": like.get("kind")}


def _normal_fields(value: Object, schema: Schema) -> Object:
    result: Object = {}
    for key, content in value.items():
        field = schema.field(key)
        if field is None:
            continue  # unknown fields are dropped, as Go's decoder does
        if content is not None:
            result[key] = normal(content, field)
        elif schema.type == "map":
            result[key] = _zero(schema.values)
    for name in schema.names if schema.type == "object" else ():
        field = schema.field(name)
        if field is not None and field.filled and name not in result:
            result[name] = normal({}, field)
    return result


def _zero_struct(schema: Schema) -> Object:
    result: Object = {}
    for name in schema.names:
        field = schema.field(name)
        if field is not None and field.filled:
            result[name] = _zero_struct(field)
        elif field is not None and name in schema.required:
            result[name] = _ZERO.get(field.type)
    return result


def _zero(schema: Schema) -> Any:
    if schema.type in ("object", "map"):
        return normal({}, schema)
    return _ZERO.get(schema.type)


def _canonical(value: Any) -> Any:
    try:
        return canonical(value)
    except ValueError:
        return value  # left for validation to name
