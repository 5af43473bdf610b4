"""The type of a value: one `Schema` a place, made from the recorded definitions when it is first walked to.

`$ref` and `allOf` are resolved, so a walker sees only what it asks for: the fields of an object, the items of a list,
how lists and maps merge, the default of a key. The merge rules have two vocabularies, both here: `list_type`,
`map_keys` and `atomic` for server-side apply; `patch_strategy` and `merge_key` for strategic merge patches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from binderops.kube.schemas.recording import recording

_PREFIX = "#/components/schemas/"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"


class Schema:
    """What stands at one place of an object.

    `type` is one of object, map, array, string, integer, number, boolean, quantity, int-or-string, any. An `object` has
    named fields (`properties`), a `map` has values of one type (`values`), `any` accepts everything (RawExtension,
    FieldsV1, JSON). `definition` is the name of the definition, or "".
    """

    __slots__ = ("_items", "_properties", "_raw", "_values", "atomic", "definition", "filled", "list_type", "type")

    def __init__(self, raw: Mapping[str, Any], definition: str = "") -> None:
        self._raw = raw
        self.definition = definition
        self.type = _type_of(raw, definition)
        self.list_type: str = raw.get("x-kubernetes-list-type", "atomic")
        self.atomic = raw.get("x-kubernetes-map-type") == "atomic" or (
            self.type == "array" and self.list_type == "atomic"
        )
        # A Go struct that is not a pointer is always there once its parent is; OpenAPI shows it as `default: {}`.
        self.filled = self.type == "object" and raw.get("default") == {}
        self._properties: dict[str, Schema] = {}
        self._items: Schema | None = None
        self._values: Schema | None = None

    def __repr__(self) -> str:
        return f"Schema({self.definition or self.type})"

    def field(self, name: str) -> Schema | None:
        """The type of a named field, of any key of a map, or None where there is no such field."""
        if self.type == "map":
            return self.values
        if self.type == "any":
            return ANY
        found = self._properties.get(name)
        if found is None:
            raw = self._raw.get("properties", {}).get(name)
            if raw is None:
                return None
            found = self._properties[name] = _resolve(raw)
        return found

    @property
    def names(self) -> list[str]:
        """The names of an object's fields."""
        return list(self._raw.get("properties", ()))

    def has_field(self, name: str) -> bool:
        """Whether an object has this named field (a map's keys are not named fields)."""
        return self.type == "object" and name in self._raw.get("properties", ())

    @property
    def items(self) -> Schema:
        """The type of a list's items."""
        if self._items is None:
            self._items = _resolve(self._raw["items"]) if self._raw.get("items") else ANY
        return self._items

    @property
    def values(self) -> Schema:
        """The type of a map's values."""
        if self._values is None:
            extra = self._raw.get("additionalProperties")
            self._values = _resolve(extra) if isinstance(extra, dict) and extra else ANY
        return self._values

    @property
    def map_keys(self) -> list[str]:
        """The fields that tell the items of a `list_type` map apart."""
        return list(self._raw.get("x-kubernetes-list-map-keys", ()))

    @property
    def patch_strategy(self) -> list[str]:
        """Of a strategic merge patch: `merge`, `retainKeys`, `replace`, or none (replace)."""
        text = self._raw.get("x-kubernetes-patch-strategy", "")
        return text.split(",") if text else []

    @property
    def merge_key(self) -> str:
        """The field that tells a list's items apart in a strategic merge patch, or ""."""
        return str(self._raw.get("x-kubernetes-patch-merge-key", ""))

    @property
    def required(self) -> list[str]:
        """Fields that are always written; a schema's `required`, which the API server checks by its own rules."""
        return list(self._raw.get("required", ()))

    @property
    def enum(self) -> list[Any]:
        """The values allowed, or none listed."""
        return list(self._raw.get("enum", ()))

    @property
    def default(self) -> Any:
        """The default, or None; what an absent key of an associative list stands for."""
        return self._raw.get("default")

    @property
    def format(self) -> str:
        """int32, int64, double, byte, date-time, or ""."""
        return str(self._raw.get("format", ""))


def schema_of(group: str, version: str, kind: str) -> Schema:
    """The type of a kind; KeyError if the recording does not have it."""
    return definition(recording().kinds[group, version, kind])


@cache
def definition(name: str) -> Schema:
    """A definition by its name (`io.k8s.api.core.v1.PodSpec`)."""
    return Schema(_raw_definition(name), name)


_RAW: dict[str, dict[str, Any]] = {}


def _raw_definition(name: str) -> dict[str, Any]:
    if name not in _RAW:
        kept = recording()
        parsed: dict[str, Any] = json.loads(kept.documents[kept.homes[name]].text())
        for other, raw in parsed["components"]["schemas"].items():
            _RAW.setdefault(other, raw)
    return _RAW[name]


def _resolve(raw: Mapping[str, Any]) -> Schema:
    """Follow a reference. What stands beside it (a default, merge rules) is said of the place and wins."""
    parts = raw.get("allOf", [])
    reference = raw.get("$ref") or (parts[0].get("$ref") if parts else None)
    if reference is None:
        return Schema(raw)
    name = reference.removeprefix(_PREFIX)
    beside = {key: value for key, value in raw.items() if key not in ("allOf", "$ref")}
    return Schema(_raw_definition(name) | beside, name) if beside else definition(name)


def _type_of(raw: Mapping[str, Any], definition: str) -> str:
    if definition == _QUANTITY:
        return "quantity"
    if definition == _INT_OR_STRING:
        return "int-or-string"
    found = raw.get("type")
    if found != "object":
        return str(found or "any")
    if raw.get("properties"):
        return "object"
    return "map" if raw.get("additionalProperties") else "any"


ANY = Schema({})
"""Accepts everything; maps below it merge field by field, lists are taken whole."""
