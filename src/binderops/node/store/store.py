"""The store: reads from memory what is committed, writes through the database, in one order for all.

Everything here runs in the event loop; only `Database` has a thread. Readers and watchers see a write when it is on the
disk. Who computes the next write starts from `latest`, which knows what is still on its way there.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import orjson

from binderops.errors import StoreFailedError
from binderops.node.store.database import Database, Write
from binderops.node.store.records import Change, FieldsOf, Object, Record
from binderops.node.store.watching import History, Matches, Watcher

_Key = tuple[str, str, str]
_NONE: Mapping[str, str] = MappingProxyType({})  # of thousands of Events


class AlreadyStoredError(Exception):
    """There is an object of that name."""


class StaleRecordError(Exception):
    """The object was changed or deleted since the caller read it."""


class Store:
    """Every object of one node, by resource (`pods`, `deployments.apps`), namespace ("" for none) and name."""

    def __init__(self, path: Path, *, fields_of: FieldsOf) -> None:
        self._database = Database(path)
        self._fields_of = fields_of
        self._records: dict[str, dict[str, dict[str, Record]]] = defaultdict(lambda: defaultdict(dict))
        self._pending: dict[_Key, Record | None] = {}  # None: being deleted
        self._waiting: dict[int, tuple[Change, asyncio.Future[Record]]] = {}
        self._epoch = 0
        for resource, namespace, name, version, body in self._database.load():
            record = self._record(resource, orjson.loads(body), version=version, body=body)
            self._records[resource][namespace][name] = record
        self._next_version = self._database.last_version()
        self.version = self._next_version
        start = self.version
        self._histories: dict[str, History] = defaultdict(lambda: History(start))
        self._loop = asyncio.get_running_loop()
        self._database.start(self._report)

    async def close(self) -> None:
        """Write what is on its way, then close the file."""
        await asyncio.to_thread(self._database.stop)

    # --- reading ------------------------------------------------------------------------------------------------------

    def get(self, resource: str, namespace: str, name: str) -> Record | None:
        """The committed object."""
        return self._records[resource][namespace].get(name)

    def latest(self, resource: str, namespace: str, name: str) -> Record | None:
        """The object as the next write finds it: also what is not committed yet."""
        key = (resource, namespace, name)
        return self._pending[key] if key in self._pending else self.get(*key)

    def records(self, resource: str, namespace: str | None = None) -> list[Record]:
        """The committed objects of a namespace (None: of all), in the order of namespace and name."""
        spaces = self._records[resource]
        chosen = [spaces[namespace]] if namespace is not None else [spaces[key] for key in sorted(spaces)]
        return [space[name] for space in chosen for name in sorted(space)]

    def latest_records(self, resource: str) -> Iterator[Record]:
        """All objects of a resource in no order, also those on their way to the disk (to find what is in use)."""
        pending = {key: record for key, record in self._pending.items() if key[0] == resource}
        committed = chain.from_iterable(space.values() for space in self._records[resource].values())
        yield from (r for r in committed if (resource, r.namespace, r.name) not in pending)
        yield from (record for record in pending.values() if record is not None)

    def count(self, resource: str) -> int:
        """How many objects of a resource are committed."""
        return sum(map(len, self._records[resource].values()))

    def last_change(self, resource: str) -> int:
        """The version of the resource's last committed change (at the earliest: that of the start)."""
        return self._histories[resource].last

    def oldest_version(self, resource: str) -> int:
        """From which version on the resource's changes are known."""
        return self._histories[resource].floor

    def watch(self, resource: str, matches: Matches, *, since: int) -> Watcher:
        """Watch a resource from the version `since` on; the caller closes the watcher.

        Raises ExpiredVersionError when the history does not reach back that far.
        """
        return self._histories[resource].watch(matches, since)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def create(self, resource: str, obj: Object) -> Record:
        """Store a new object and return it once it is durable. AlreadyStoredError, StoreFailedError."""
        metadata = obj["metadata"]
        if self.latest(resource, metadata.get("namespace", ""), metadata["name"]) is not None:
            raise AlreadyStoredError
        return await self._write(resource, obj, previous=None)

    async def update(self, obj: Object, *, previous: Record) -> Record:
        """Replace `previous` (what `latest` gave) and return once it is durable. StaleRecordError, StoreFailedError."""
        self._check_latest(previous)
        return await self._write(previous.resource, obj, previous=previous)

    async def delete(self, previous: Record, obj: Object | None = None) -> Record:
        """Remove `previous`; watchers get its last state (`obj`, if given). StaleRecordError, StoreFailedError."""
        self._check_latest(previous)
        return await self._write(previous.resource, obj or previous.object(), previous=previous, gone=True)

    def _check_latest(self, previous: Record) -> None:
        if self.latest(previous.resource, previous.namespace, previous.name) is not previous:
            raise StaleRecordError

    async def _write(self, resource: str, obj: Object, *, previous: Record | None, gone: bool = False) -> Record:
        version = self._next_version + 1
        obj["metadata"]["resourceVersion"] = str(version)
        record = self._record(resource, obj, version=version, body=orjson.dumps(obj))
        self._next_version = version
        done: asyncio.Future[Record] = self._loop.create_future()
        self._pending[(resource, record.namespace, record.name)] = None if gone else record
        self._waiting[version] = (Change(record, previous, gone=gone), done)
        body = None if gone else record.body
        self._database.submit(Write(self._epoch, version, resource, record.namespace, record.name, body))
        # A client that goes away must not leave a write half known: the commit is awaited by nobody, not cancelled.
        return await asyncio.shield(done)

    def _record(self, resource: str, obj: Object, *, version: int, body: bytes) -> Record:
        metadata = obj["metadata"]
        return Record(
            resource,
            sys.intern(metadata.get("namespace", "")),
            metadata["name"],
            version=version,
            body=body,
            labels=metadata.get("labels") or _NONE,
            fields_of=self._fields_of,
        )

    # --- what the writer reports --------------------------------------------------------------------------------------

    def _report(self, writes: list[Write], error: Exception | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settle, writes, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _settle(self, writes: list[Write], error: Exception | None) -> None:
        if error is not None:
            self._fail_all(error)
            return
        for write in writes:
            change, done = self._waiting.pop(write.version)
            key = (write.resource, write.namespace, write.name)
            if key in self._pending and self._pending[key] is (None if change.gone else change.record):
                del self._pending[key]
            self._commit(change)
            if not done.done():
                done.set_result(change.record)

    def _fail_all(self, error: Exception) -> None:
        """Fail every write that is on its way: the later ones were computed on top of the one that failed."""
        self._epoch += 1
        waiting, self._waiting = self._waiting, {}
        self._pending.clear()
        for change, done in waiting.values():
            if not done.done():
                where = f"{change.record.resource} {change.record.namespace}/{change.record.name}"
                done.set_exception(StoreFailedError("the store did not take a write", where=where, why=str(error)))
                done.exception()  # seen: a client that went away leaves nobody to retrieve it

    def _commit(self, change: Change) -> None:
        record = change.record
        space = self._records[record.resource][record.namespace]
        if change.gone:
            space.pop(record.name, None)
        else:
            space[record.name] = record
        self.version = record.version
        self._histories[record.resource].add(change)
