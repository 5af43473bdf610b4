"""values.schema.json from values.shape.yaml: the keys of a chart, one line each, as a strict JSON schema.

A shape is a map of keys. A value is a map again (a strict object: unknown keys are refused), a list (one of these
values), or a text: `TYPE`, `TYPE?` (may be null) or `TYPE; what the key means or why it has no effect`. Types are
below; in capitals, they are shapes of their own, under `shapes` in the same file. `$schema` holds JSON schema as it is.

Keys that the chart refuses by name (refused.yaml) are admitted here: the refusal, which says what to do, speaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refusals import words

Schema = dict[str, Any]

TYPES: dict[str, Schema] = {
    "any": {},
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "map": {"type": "object"},
    "list": {"type": "array"},
    "strings": {"type": "array", "items": {"type": "string"}},
    "labels": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
    "quantity": {"type": ["string", "number"]},
    "text-or-number": {"type": ["string", "number", "boolean"]},
    "text-or-list": {"type": ["string", "array"]},
    "integer-or-percent": {"type": ["integer", "string"]},
    "env": {"type": ["object", "array"]},
    # As some charts of upstream write what is not set.
    "integer-or-empty": {"type": ["integer", "string"], "maxLength": 0},
    "list-or-empty": {"type": ["array", "object"], "maxProperties": 0},
    "port": {"type": "integer", "minimum": 0, "maximum": 65535},
}


def schema_of(document: Mapping[str, Any], refused: Mapping[str, Any], *, title: str) -> Schema:
    """The JSON schema of a values.shape.yaml (`document`), with the keys of its refused.yaml admitted."""
    shapes = document.get("shapes", {})
    schema = _object(document["keys"], shapes)
    for entry in refused.get("keys", []):
        _admit(schema, entry["key"].split("."), entry)
    # Draft 7: Helm compiles it in a third of the time that 2020-12 takes, at each render.
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": title, **schema}


def _object(keys: Mapping[str, Any], shapes: Mapping[str, Any]) -> Schema:
    properties = {key: _value(value, shapes) for key, value in keys.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _value(value: Any, shapes: Mapping[str, Any]) -> Schema:
    if isinstance(value, Mapping):
        return dict(value["$schema"]) if "$schema" in value else _object(value, shapes)
    if isinstance(value, list):
        return {"enum": value}
    name, _, meaning = (part.strip() for part in value.partition(";"))
    schema = _named(name.removesuffix("?"), shapes)
    if name.endswith("?"):
        schema = _nullable(schema)
    return {**schema, "description": meaning} if meaning else schema


def _named(name: str, shapes: Mapping[str, Any]) -> Schema:
    return _value(shapes[name], shapes) if name in shapes else dict(TYPES[name])


def _nullable(schema: Schema) -> Schema:
    if "type" not in schema:
        return schema
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*types, "null"]}


def _admit(schema: Schema, path: list[str], entry: Mapping[str, Any]) -> None:
    head, *rest = path
    properties = schema.setdefault("properties", {})
    if not rest:
        properties.setdefault(head, {"description": f"refused: {words(entry)}"})
        return
    if head not in properties and schema.get("additionalProperties") is not False:
        return  # an open map admits it anyway
    child = properties.setdefault(head, {"type": "object", "additionalProperties": False, "properties": {}})
    if child.get("properties") is not None:
        _admit(child, rest, entry)
