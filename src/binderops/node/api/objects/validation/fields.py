"""Causes as apimachinery's `field` package words them; one function for each type of error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from binderops.node.api.objects.fieldset import compact
from binderops.node.api.objects.status import Cause

Causes = Iterator[Cause]


def required(path: str, detail: str = "") -> Cause:
    """A value that must be there."""
    return Cause("FieldValueRequired", path, "Required value" + (f": {detail}" if detail else ""))


def invalid(path: str, value: Any, detail: str) -> Cause:
    """A value that is not acceptable."""
    return Cause("FieldValueInvalid", path, f"Invalid value: {_shown(value)}: {detail}")


def not_supported(path: str, value: Any, supported: Iterable[str]) -> Cause:
    """A value that is none of those listed."""
    listed = ", ".join(compact(each) for each in sorted(supported))
    return Cause("FieldValueNotSupported", path, f"Unsupported value: {_shown(value)}: supported values: {listed}")


def forbidden(path: str, detail: str) -> Cause:
    """A value that may not be set, or not be changed, here."""
    return Cause("FieldValueForbidden", path, f"Forbidden: {detail}")


def duplicate(path: str, value: Any) -> Cause:
    """A value that must be unique, and is not."""
    return Cause("FieldValueDuplicate", path, f"Duplicate value: {_shown(value)}")


def not_found(path: str, value: Any) -> Cause:
    """A reference to something that is not in the object."""
    return Cause("FieldValueNotFound", path, f"Not found: {_shown(value)}")


def too_long(path: str, limit: int) -> Cause:
    """A value of more than `limit` bytes."""
    return Cause("FieldValueTooLong", path, f"Too long: may not be more than {limit} bytes")


def immutable(path: str, old: Any, new: Any) -> Causes:
    """A cause if a field that is fixed once set differs."""
    if compact(old) != compact(new):
        yield invalid(path, new, "field is immutable")


def at_least(path: str, value: Any, least: int = 0) -> Causes:
    """A cause if a number is given and too small."""
    if isinstance(value, int) and value < least:
        yield invalid(path, value, f"must be greater than or equal to {least}")


def port(path: str, value: Any) -> Causes:
    """A cause if a number is no TCP or UDP port."""
    if not isinstance(value, int) or not 1 <= value <= 65535:
        yield invalid(path, value, "must be between 1 and 65535, inclusive")


def one_of(path: str, value: Mapping[str, Any], names: Iterable[str], *, missing: str, many: str) -> Causes:
    """Causes unless exactly one of several fields is set."""
    given = [name for name in names if value.get(name) is not None]
    if not given:
        yield required(path, missing)
    for name in given[1:]:
        yield forbidden(f"{path}.{name}", many)


def items(value: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of a list, each with its path."""
    for index, item in enumerate(value or []):
        if isinstance(item, Mapping):
            yield f"{path}[{index}]", item


def repeated(value: Any, path: str, key: str) -> Causes:
    """Causes for items whose key stood before."""
    seen: set[Any] = set()
    for place, item in items(value, path):
        content = item.get(key)
        if content and content in seen:
            yield duplicate(f"{place}.{key}", content)
        seen.add(content)


def _shown(value: Any) -> str:
    return compact(value) if value is not None else "null"
