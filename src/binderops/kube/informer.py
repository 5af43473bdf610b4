"""A local copy of the objects of one kind that follows the API: list, watch, list again where a watch cannot go on."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from typing import Literal

import structlog

from binderops.errors import GoneError, KubernetesError
from binderops.kube.client import Client
from binderops.kube.kinds import Kind, Object
from binderops.kube.objects import Key, key_of, metadata_of, uid_of

log = structlog.get_logger(__name__)

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
Callback = Callable[[EventType, Object, Object | None], None]
"""Called with the event's type, the new object (the last one seen, for DELETED), and the old one."""

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 30.0
HEALTHY_SECONDS = 5.0


class Index:
    """The objects of an informer by keys computed from each: `pods.add_index(lambda pod: [owner uid])`."""

    def __init__(self, keys_of: Callable[[Object], Iterable[str]]) -> None:
        self._keys_of = keys_of
        self._objects: dict[str, dict[Key, Object]] = {}

    def get(self, key: str) -> list[Object]:
        """The objects under one key."""
        return list(self._objects.get(key, {}).values())

    def _put(self, obj: Object) -> None:
        for key in self._keys_of(obj):
            self._objects.setdefault(key, {})[key_of(obj)] = obj

    def _drop(self, obj: Object) -> None:
        for key in self._keys_of(obj):
            group = self._objects.get(key)
            if group is not None:
                group.pop(key_of(obj), None)
                if not group:
                    del self._objects[key]


def without_managed_fields(obj: Object) -> Object:
    """What an informer keeps unless told otherwise: all but `metadata.managedFields`, which nobody here reads."""
    metadata_of(obj).pop("managedFields", None)
    return obj


class Informer:
    """Keeps `objects` like the API's. Callbacks run in order, on the event loop, and must not block.

    Objects are shared by everyone who reads the informer: nobody may change one.
    """

    def __init__(
        self,
        client: Client,
        kind: Kind,
        *,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
        keep: Callable[[Object], Object] = without_managed_fields,
        metadata_only: bool = False,
    ) -> None:
        """With `metadata_only` nothing else is asked of the API: cheap where objects are large, as Secrets can be."""
        self.kind = kind
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        """Set once everything that the first list gave has been reported."""
        self._client = client
        self._namespace = namespace
        self._labels = labels
        self._fields = fields
        self._keep = keep
        self._metadata_only = metadata_only
        self._callbacks: list[Callback] = []
        self._indexes: list[Index] = []
        self._version: str | None = None  # where the next watch begins, None: list first
        self._latest: str | None = None  # the last version that a list or a watch told

    def get(self, namespace: str, name: str) -> Object | None:
        """One object, or None; the namespace is "" for a kind that has none."""
        return self.objects.get((namespace, name))

    def subscribe(self, callback: Callback) -> None:
        """Report changes to `callback`, beginning with an ADDED for each object that is already here."""
        self._callbacks.append(callback)
        for obj in list(self.objects.values()):
            callback("ADDED", obj, None)

    def add_index(self, keys_of: Callable[[Object], Iterable[str]]) -> Index:
        """An index that follows the objects from now on (and has those that are here)."""
        index = Index(keys_of)
        for obj in self.objects.values():
            index._put(obj)
        self._indexes.append(index)
        return index

    def observe(self, obj: Object) -> None:
        """Take over what the API answered to a write of ours, ahead of the watch, so that we read our own writes.

        Does nothing where the watch has already come further: it may have seen the object's end.
        """
        if _newer(_version_of(obj), self._latest):
            self._put(dict(obj))

    async def run(self) -> None:
        """Follow the API until cancelled. Errors are logged and answered with a growing, jittered delay."""
        delay = FIRST_DELAY_SECONDS
        while True:
            began = time.monotonic()
            try:
                if self._version is None:
                    self._version = await self._list()
                await self._watch(self._version)
            except GoneError:
                self._version = None
            except KubernetesError as error:
                if error.reason not in ("Unreachable", "Timeout"):
                    self._version = None
                log.warning("watch interrupted", kind=self.kind.kind, error=str(error), delay_seconds=round(delay, 1))
            # A watch that lasted proves that the API is well; one that ends at once must not become a busy loop.
            if time.monotonic() - began > HEALTHY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    async def _list(self) -> str:
        listed = await self._client.list(
            self.kind,
            self._namespace,
            labels=self._labels,
            fields=self._fields,
            metadata_only=self._metadata_only,
        )
        present = {key_of(obj): obj for obj in listed.items}
        went_back = _newer(self._latest, listed.resource_version)  # another store answers: nothing kept means anything
        for key, obj in list(self.objects.items()):
            observed = key not in present and _newer(_version_of(obj), listed.resource_version)
            if went_back or (key not in present and not observed):
                self._remove(key)
        for obj in present.values():
            self._put(obj)
        self._latest = listed.resource_version
        self.synced.set()
        return listed.resource_version

    async def _watch(self, version: str) -> None:
        events = self._client.watch(
            self.kind,
            self._namespace,
            labels=self._labels,
            fields=self._fields,
            resource_version=version,
            metadata_only=self._metadata_only,
        )
        async for event in events:
            if event.type == "DELETED":
                self._remove(key_of(event.object), event.object)
            elif event.type != "BOOKMARK":
                self._put(event.object)
            # Kept after each event, so that a broken watch goes on where it was.
            self._version = self._latest = _version_of(event.object) or self._version

    def _put(self, obj: Object) -> None:
        obj = self._keep(obj)
        key = key_of(obj)
        old = self.objects.get(key)
        if old is not None and uid_of(old) != uid_of(obj):  # deleted and made again while nobody watched
            self._remove(key)
            old = None
        if old is not None and not _newer(_version_of(obj), _version_of(old)):
            return
        for index in self._indexes:
            if old is not None:
                index._drop(old)
            index._put(obj)
        self.objects[key] = obj
        self._report("ADDED" if old is None else "MODIFIED", obj, old)

    def _remove(self, key: Key, last: Object | None = None) -> None:
        old = self.objects.get(key)
        if old is None or (last is not None and uid_of(last) != uid_of(old)):
            return
        del self.objects[key]
        for index in self._indexes:
            index._drop(old)
        self._report("DELETED", self._keep(last) if last is not None else old, old)

    def _report(self, event_type: EventType, new: Object, old: Object | None) -> None:
        for callback in self._callbacks:
            try:
                callback(event_type, new, old)
            except Exception:  # one reader's mistake must not stop the others from seeing changes
                log.exception("an informer's callback failed", kind=self.kind.kind, object=key_of(new))


def _version_of(obj: Object) -> str | None:
    version = metadata_of(obj).get("resourceVersion")
    return None if version is None else str(version)


def _newer(version: str | None, than: str | None) -> bool:
    """Whether a resource version is later; versions of one kind may be compared as numbers since Kubernetes 1.35.

    Versions that are no numbers count as newer when they differ.
    """
    if version is None or than is None:
        return version != than
    try:
        return int(version) > int(than)
    except ValueError:
        return version != than
