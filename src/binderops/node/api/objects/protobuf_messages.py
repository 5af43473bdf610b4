"""The protobuf fields of Kubernetes' types, as recorded from their Go sources (`protobuf-fields.txt`).

Each message is parsed when it is first asked for. A form is a scalar (string, bytes, bool, int, double), a type with a
JSON form of its own (Time, MicroTime, Quantity, IntOrString, FieldsV1, RawExtension), or a message's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

FIELDS = "protobuf-fields.txt"


class Field(NamedTuple):
    """A field: its JSON name ("" when its own fields stand in the parent), its form, and how it is held.

    `repeated` is a list; `mapped` a map from strings; `pointer` says that an empty value is meant.
    """

    name: str
    form: str
    repeated: bool = False
    mapped: bool = False
    pointer: bool = False


_ENVELOPE: Mapping[str, Mapping[int, Field]] = {
    "Unknown": {1: Field("typeMeta", "TypeMeta"), 2: Field("raw", "bytes")},
    "TypeMeta": {1: Field("apiVersion", "string"), 2: Field("kind", "string")},
    "Quantity": {1: Field("string", "string")},
    "IntOrString": {1: Field("type", "int"), 2: Field("intVal", "int"), 3: Field("strVal", "string")},
    "StringList": {1: Field("items", "string", repeated=True)},
    "Raw": {1: Field("raw", "bytes")},
    "Moment": {1: Field("seconds", "int"), 2: Field("nanos", "int")},
}


@cache
def message(name: str) -> Mapping[int, Field]:
    """A message's fields by number; KeyError for one that is not recorded."""
    if name in _ENVELOPE:
        return _ENVELOPE[name]
    return dict(_field(part) for part in _lines()[name].split(", "))


def message_of(api_version: str, kind: str) -> str | None:
    """The name of a kind's message, or None if it is not recorded."""
    group, _, version = api_version.rpartition("/")
    for name in (f"{group.partition('.')[0] or 'core'}.{version}.{kind}", f"meta.v1.{kind}"):
        if name in _lines():
            return name
    return None


@cache
def _lines() -> Mapping[str, str]:
    text = files(__package__).joinpath(FIELDS).read_text()
    pairs = (line.partition(": ") for line in text.splitlines() if not line.startswith("#"))
    return {name: content for name, _, content in pairs}


def _field(text: str) -> tuple[int, Field]:
    number, _, rest = text.partition(" ")
    name, _, form = rest.partition(":")
    pointer, name = name.endswith("?"), name.rstrip("?")
    if form == "{}[]string":
        return int(number), Field(name, "StringList", mapped=True)
    if form.startswith("{}"):
        return int(number), Field(name, form[2:], mapped=True)
    return int(number), Field(name, form.removeprefix("[]"), repeated=form.startswith("[]"), pointer=pointer)
