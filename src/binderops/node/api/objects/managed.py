"""`metadata.managedFields`: who owns which fields, read and written.

A manager is told apart by (name, operation, subresource) and, for updates, the apiVersion it wrote in; an applier keeps
one entry whatever version it applies. The rules are those of apimachinery's managedfields package.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from binderops.node.api.objects.fieldset import FieldSet, format_fields, parse_fields

MAX_UPDATE_MANAGERS = 10
OLD_UPDATES = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"


class Manager(NamedTuple):
    """Who owns fields. `api_version` is "" for an applier."""

    name: str
    operation: str
    api_version: str
    subresource: str

    def __str__(self) -> str:
        """As conflicts name it."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


def applier(name: str, subresource: str) -> Manager:
    """The manager of applies under a name."""
    return Manager(name, "Apply", "", subresource)


def updater(name: str, api_version: str, subresource: str) -> Manager:
    """The manager of creates, updates and patches under a name."""
    return Manager(name, "Update", api_version, subresource)


@dataclass(frozen=True)
class Owned:
    """What a manager owns, the version its paths are in, and when it last changed (RFC 3339, or "")."""

    fields: FieldSet
    api_version: str
    time: str = ""


Managers = dict[Manager, Owned]


def decode(entries: Any) -> Managers:
    """`managedFields` to managers. ValueError for entries that are not FieldsV1."""
    managers: Managers = {}
    for entry in entries or ():
        if not isinstance(entry, dict) or entry.get("fieldsType") != "FieldsV1":
            raise ValueError("managedFields: fieldsType must be `FieldsV1`")
        operation, version = entry.get("operation"), str(entry.get("apiVersion", ""))
        if operation not in ("Apply", "Update"):
            raise ValueError(f"managedFields: operation must be `Apply` or `Update`, not {operation!r}")
        name, subresource = str(entry.get("manager", "")), str(entry.get("subresource", ""))
        manager = applier(name, subresource) if operation == "Apply" else updater(name, version, subresource)
        fields = parse_fields(entry.get("fieldsV1") or {})
        managers[manager] = Owned(fields, version, str(entry.get("time") or ""))
    return managers


def encode(managers: Managers) -> list[dict[str, Any]]:
    """Managers to `managedFields`: sorted by operation, time, name, version, subresource."""
    entries = []
    for manager, owned in managers.items():
        entry: dict[str, Any] = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": owned.api_version,
        }
        if owned.time:
            entry["time"] = owned.time
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": format_fields(owned.fields)}
        if manager.subresource:
            entry["subresource"] = manager.subresource
        entries.append(entry)
    return sorted(entries, key=_order)


def _order(entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(entry.get(key, "")) for key in ("operation", "time", "manager", "apiVersion", "subresource"))


def is_reset(entries: Any) -> bool:
    """Whether a request clears managedFields: exactly one empty entry."""
    return isinstance(entries, list) and len(entries) == 1 and entries[0] in ({}, None)


def with_limit(managers: Managers) -> Managers:
    """At most ten update managers: the oldest of each version are merged into one, `ancient-changes`."""
    updaters = sorted(
        (manager for manager in managers if manager.operation == "Update"),
        key=lambda manager: (managers[manager].time, manager),
    )
    kept = dict(managers)
    first: dict[str, Manager] = {}
    over = len(updaters) - MAX_UPDATE_MANAGERS
    for manager in updaters:
        if over <= 0:
            break
        owned = kept[manager]
        oldest = first.setdefault(owned.api_version, manager)
        if oldest == manager:
            continue
        bucket = updater(OLD_UPDATES, owned.api_version, "")
        if bucket not in kept:
            kept[bucket] = kept.pop(oldest)
        if manager != bucket:
            kept[bucket] = replace(owned, fields=owned.fields | kept[bucket].fields)
            del kept[manager]
        over -= 1
    return kept


def without_empty(managers: Managers) -> Managers:
    """Managers that still own something."""
    return {manager: owned for manager, owned in managers.items() if not owned.fields.is_empty()}


def union(sets: Iterable[FieldSet]) -> FieldSet:
    """All paths of several sets."""
    result = FieldSet()
    for each in sets:
        result = result | each
    return result
