"""What the store holds: one record an object, its JSON kept as bytes, so that lists and watches copy nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

Object = dict[str, Any]
FieldsOf = Callable[[str, Object], Mapping[str, str]]
"""(resource, object) -> the values of the fields by which the resource can be selected."""


class Record:
    """One stored object at one resource version; never changed once made."""

    __slots__ = ("_fields_of", "body", "labels", "name", "namespace", "resource", "version")

    def __init__(
        self,
        resource: str,
        namespace: str,
        name: str,
        *,
        version: int,
        body: bytes,
        labels: Mapping[str, str],
        fields_of: FieldsOf,
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.name = name
        self.version = version
        self.body = body
        self.labels = labels
        self._fields_of = fields_of

    @property
    def fields(self) -> Mapping[str, str]:
        """What it can be selected by, read from its JSON: kept, it would be most of an Event's memory."""
        return self._fields_of(self.resource, self.object())

    def object(self) -> Object:
        """A fresh copy of the object: the caller may change it."""
        loaded: Object = orjson.loads(self.body)
        return loaded

    def at_version(self, version: int) -> Record:
        """The same object with another resource version (what a watch sends for an object that has gone)."""
        obj = self.object()
        obj["metadata"]["resourceVersion"] = str(version)
        return Record(
            self.resource,
            self.namespace,
            self.name,
            version=version,
            body=orjson.dumps(obj),
            labels=self.labels,
            fields_of=self._fields_of,
        )


class Change:
    """One committed write: `previous` is None when the object is new, `gone` when it was deleted (then at `record`)."""

    __slots__ = ("_left", "gone", "previous", "record")

    def __init__(self, record: Record, previous: Record | None, *, gone: bool = False) -> None:
        self.record = record
        self.previous = previous
        self.gone = gone
        self._left: Record | None = None

    @property
    def version(self) -> int:
        """The resource version of the write."""
        return self.record.version

    def left(self) -> Record:
        """The previous object under this write's version: what a watch sends when its selector matches no longer."""
        if self._left is None:
            self._left = (self.previous or self.record).at_version(self.version)
        return self._left
