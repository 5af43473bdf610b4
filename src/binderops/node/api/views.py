"""Objects in the form that a client asked for: as stored, as events.k8s.io, as a Table, or their metadata only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from binderops.node.api.http import Accepted
from binderops.node.api.objects import tables
from binderops.node.api.resources import Resource
from binderops.node.store import Record

Object = dict[str, Any]


class View:
    """How one request wants one resource's objects."""

    def __init__(self, resource: Resource, accepted: Accepted, *, include: str = "") -> None:
        self._resource = resource
        self._view = accepted.view
        self._include = include or "Metadata"

    @property
    def is_raw(self) -> bool:
        """Whether the stored bytes are the answer."""
        return not self._view and self._resource.group != "events.k8s.io"

    def one(self, record: Record) -> bytes:
        """One object."""
        return record.body if self.is_raw else orjson.dumps(self._converted(record.object()))

    def of_object(self, obj: Object) -> bytes:
        """One object that is not (or not only) in the store."""
        return orjson.dumps(obj if self.is_raw else self._converted(obj))

    def many(self, records: Sequence[Record], metadata: Object) -> bytes:
        """A list."""
        if self._view == "Table":
            objects = [as_served(self._resource, record.object()) for record in records]
            return orjson.dumps(self._table(objects, metadata))
        if self._view:
            kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        else:
            kind, api_version = f"{self._resource.kind}List", self._resource.api_version
        head = orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": metadata})
        return head[:-1] + b',"items":[' + b",".join(self.one(record) for record in records) + b"]}"

    def _converted(self, obj: Object) -> Object:
        obj = as_served(self._resource, obj)
        if self._view == "Table":
            return self._table([obj], None)
        if self._view:
            return {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": obj["metadata"],
            }
        return obj

    def _table(self, objects: list[Object], metadata: Object | None) -> Object:
        return tables.table(
            objects, self._resource.kind, now=datetime.now(UTC), list_meta=metadata, include=self._include
        )


# --- one store, two groups of events ----------------------------------------------------------------------------------

# core v1 -> events.k8s.io/v1; the other fields have one name in both.
_NEW_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_OLD_NAMES = {new: old for old, new in _NEW_NAMES.items()}


def as_stored(resource: Resource, obj: Object) -> Object:
    """An object as the store keeps it: events of events.k8s.io as core events."""
    if resource.group != "events.k8s.io":
        return obj
    return _renamed(obj, _OLD_NAMES) | {"apiVersion": "v1"}


def as_served(resource: Resource, obj: Object) -> Object:
    """The reverse of `as_stored`."""
    if resource.group != "events.k8s.io":
        return obj
    return _renamed(obj, _NEW_NAMES) | {"apiVersion": resource.api_version}


def _renamed(obj: Object, names: dict[str, str]) -> Object:
    return {names.get(key, key): value for key, value in obj.items()}
