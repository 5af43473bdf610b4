"""Whether an object fits its kind's type: unknown fields, wrong types, values that no enumeration has.

Used by `checks` on rendered charts (no cluster needed) and by the node's API for strict field validation.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from binderops.kube.quantity import parse_quantity
from binderops.kube.schemas.schema import Schema, schema_of

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_NAMES = {"object": "an object", "map": "an object", "array": "a list", "integer": "an integer"}


class Finding(NamedTuple):
    """One thing that does not fit; `rule` is unknown-field, unknown-kind, type, required or enum."""

    rule: str
    path: str
    message: str
    suggestion: str = ""


def validate(obj: Mapping[str, Any]) -> list[Finding]:
    """What does not fit in an object that names its own apiVersion and kind; an unknown kind is one finding."""
    api_version, kind = str(obj.get("apiVersion", "")), str(obj.get("kind", ""))
    group, slash, version = api_version.partition("/")
    if not slash:
        group, version = "", group
    try:
        schema = schema_of(group, version, kind)
    except KeyError:
        return [Finding("unknown-kind", "", f"no kind {kind!r} in version {api_version!r}")]
    return list(findings(obj, schema))


def findings(value: Any, schema: Schema, path: str = "") -> Iterator[Finding]:
    """What does not fit below one place. A null is absence, as Kubernetes' decoders take it."""
    if value is None:
        return
    problem = _mismatch(value, schema)
    if problem:
        yield Finding("type", path, problem)
    elif schema.type in ("object", "map"):
        yield from _fields(value, schema, path)
    elif schema.type == "array":
        for index, item in enumerate(value):
            yield from findings(item, schema.items, f"{path}[{index}]")
    elif schema.enum and value not in schema.enum:
        yield Finding(
            "enum",
            path,
            f"{value!r} is not one of {', '.join(map(str, schema.enum))}",
            _nearest(str(value), map(str, schema.enum)),
        )


def _fields(value: Mapping[str, Any], schema: Schema, path: str) -> Iterator[Finding]:
    for name, content in value.items():
        below = f"{path}.{name}" if path else str(name)
        field = schema.field(name)
        if field is None:
            yield Finding("unknown-field", below, f"there is no field {name!r} here", _nearest(name, schema.names))
        else:
            yield from findings(content, field, below)
    for name in schema.required if schema.type == "object" else ():
        if value.get(name) is None:
            yield Finding("required", f"{path}.{name}" if path else name, "is required")


def _mismatch(value: Any, schema: Schema) -> str:
    """Why a value is not of its type, or ""."""
    match schema.type:
        case "object" | "map":
            fits = isinstance(value, dict)
        case "array":
            fits = isinstance(value, list)
        case "boolean":
            fits = isinstance(value, bool)
        case "integer":
            return _integer_mismatch(value, schema.format)
        case "number":
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        case "int-or-string":
            fits = isinstance(value, int | str) and not isinstance(value, bool)
        case "quantity":
            return _quantity_mismatch(value)
        case "string":
            return _string_mismatch(value, schema.format)
        case _:
            return ""
    return "" if fits else _expected(value, schema.type)


def _integer_mismatch(value: Any, form: str) -> str:
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
        return _expected(value, "integer")
    bits = 31 if form == "int32" else 63
    return "" if -(2**bits) <= value < 2**bits else f"{value} does not fit into {form or 'int64'}"


def _quantity_mismatch(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _expected(value, "quantity")
    try:
        parse_quantity(value)
    except ValueError as error:
        return str(error)
    return ""


def _string_mismatch(value: Any, form: str) -> str:
    if not isinstance(value, str):
        return _expected(value, "string")
    if form == "date-time" and value and not _TIME.fullmatch(value):
        return f"{value!r} is not a time (RFC 3339)"
    if form == "byte":
        try:
            base64.b64decode("".join(value.split("\n")), validate=True)
        except (binascii.Error, ValueError):
            return "is not base64"
    return ""


def _expected(value: Any, wanted: str) -> str:
    names = {
        dict: "an object",
        list: "a list",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        str: "a string",
    }
    return f"{_NAMES.get(wanted, 'a ' + wanted)} is expected here, not {names.get(type(value), type(value).__name__)}"


def _nearest(name: str, known: Any) -> str:
    candidates = list(known)
    folded = next((each for each in candidates if each.lower() == name.lower()), "")
    return folded or next(iter(get_close_matches(name, candidates, n=1)), "")
