"""What the recorded types say of any kind: enumerations, and fields that cannot be left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from binderops.kube.schemas import ANY, Schema
from binderops.node.api.objects.validation.fields import Causes, not_supported, required

_SKIPPED = frozenset({"metadata", "status", "apiVersion", "kind"})


def by_schema(obj: Mapping[str, Any], schema: Schema) -> Causes:
    """Causes in all but metadata and status, whose zero values the server itself writes."""
    for name, value in obj.items():
        if name not in _SKIPPED:
            yield from _below(value, schema.field(name) or ANY, name)


def _below(value: Any, schema: Schema, path: str) -> Causes:
    if isinstance(value, dict):
        for name in schema.required if schema.type == "object" else ():
            field = schema.field(name)
            # Lists and maps that Go always writes may be null: OpenAPI calls them required too.
            if value.get(name) is None and field is not None and field.type not in ("array", "map", "any"):
                yield required(f"{path}.{name}")
        for name, content in value.items():
            field = schema.field(name) or ANY
            yield from _below(content, field, f"{path}.{name}" if schema.type != "map" else f"{path}[{name}]")
    elif isinstance(value, list):
        items = schema.items if schema.type == "array" else ANY
        for index, item in enumerate(value):
            yield from _below(item, items, f"{path}[{index}]")
    elif schema.enum and value not in schema.enum and isinstance(value, str):
        yield not_supported(path, value, [each for each in schema.enum if each])
