"""What every controller is made of: shared informers, a queue of keys, and workers that sync one key at a time.

A controller is level-triggered: its `sync` looks at what is and at what should be, and takes one step; events only say
which key to look at. A key is never synced twice at once, and one that fails is tried again after a growing delay.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

import structlog

from binderops.errors import ConflictError, ForbiddenError, KubernetesError, NotFoundError
from binderops.kube.client import Client, PatchHow, Propagation
from binderops.kube.events import EventRecorder
from binderops.kube.informer import EventType, Index, Informer
from binderops.kube.kinds import Kind, Object, kind_of
from binderops.kube.objects import Key, controller_of, key_of, labels_of, name_of, namespace_of, uid_of
from binderops.kube.selectors import LabelSelector, from_label_selector

log = structlog.get_logger(__name__)

FIRST_RETRY_SECONDS = 0.05
LONGEST_RETRY_SECONDS = 60.0


class Config(Protocol):
    """What controllers need to know of the node's settings."""

    @property
    def state(self) -> Path:
        """The node's state folder; volumes lie below it."""


class Informers:
    """One informer a kind, shared by all controllers."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._by_kind: dict[Kind, Informer] = {}
        self._owner_indexes: dict[Kind, Index] = {}

    def of(self, kind: Kind, *, keep: Callable[[Object], Object] | None = None) -> Informer:
        """The informer of a kind; `keep` (what to store of each object's metadata) counts only for who asks first."""
        if kind not in self._by_kind:
            self._by_kind[kind] = (
                Informer(self._client, kind)
                if keep is None
                else Informer(self._client, kind, keep=keep, metadata_only=True)
            )
        return self._by_kind[kind]

    def owned(self, kind: Kind) -> Index:
        """The objects of a kind by the uid of each of their owners."""
        if kind not in self._owner_indexes:
            self._owner_indexes[kind] = self.of(kind).add_index(_owner_uids)
        return self._owner_indexes[kind]

    def known(self) -> Mapping[Kind, Informer]:
        """Every informer that somebody asked for."""
        return self._by_kind

    def observe(self, obj: Object) -> None:
        """Let the informer of the object's kind know what a write gave, so that syncs read their own writes."""
        informer = self._by_kind.get(kind_of(obj))
        if informer is not None:
            informer.observe(obj)

    async def run(self, started: asyncio.Event) -> None:
        """Run all informers until cancelled; `started` is set when each has listed once."""
        async with asyncio.TaskGroup() as group:
            for informer in self._by_kind.values():
                group.create_task(informer.run())
            for informer in self._by_kind.values():
                await informer.synced.wait()
            started.set()


def _owner_uids(obj: Object) -> Iterable[str]:
    return [str(owner.get("uid")) for owner in obj.get("metadata", {}).get("ownerReferences") or ()]


@dataclass
class Context:
    """What every controller is given."""

    client: Client
    config: Config
    informers: Informers
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    async def create(self, obj: Object) -> Object:
        """Create an object, known to our informers on return."""
        made = await self.client.create(obj)
        self.informers.observe(made)
        return made

    async def patch(self, obj: Object, body: Any, *, how: PatchHow = "merge", subresource: str | None = None) -> Object:
        """Patch an object, known to our informers on return."""
        kind = kind_of(obj)
        made = await self.client.patch(
            kind, name_of(obj), namespace_of(obj) or None, body, how=how, subresource=subresource
        )
        self.informers.observe(made)
        return made

    async def update_status(self, obj: Object, status: Mapping[str, Any]) -> None:
        """Bring the fields that `status` names to what it says; no request where they say so already."""
        current = obj.get("status") or {}
        changed = {key: value for key, value in status.items() if current.get(key) != value}
        if changed:
            await self.patch(obj, {"metadata": {"uid": uid_of(obj)}, "status": changed}, subresource="status")

    async def delete(
        self, obj: Object, *, propagation: Propagation = "Background", grace_seconds: int | None = None
    ) -> None:
        """Delete this very object (by uid); nothing happens where it is gone or replaced."""
        try:
            answer = await self.client.delete(
                kind_of(obj),
                name_of(obj),
                namespace_of(obj) or None,
                uid=uid_of(obj),
                propagation=propagation,
                grace_seconds=grace_seconds,
            )
        except (NotFoundError, ConflictError):
            return
        if answer.get("kind") == obj.get("kind"):
            self.informers.observe(answer)


class Queue:
    """Keys to sync: each at most once in the queue and never while it is being synced."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._active: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}

    def add(self, key: Key) -> None:
        """Have the key synced soon."""
        if key in self._active:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Have the key synced after a while, unless a timer that fires earlier is set already."""
        loop = asyncio.get_running_loop()
        when = loop.time() + max(seconds, 0.0)
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= when:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(when, self._fire, key)

    def retry(self, key: Key) -> float:
        """Have a key that failed synced again after a delay that doubles each time; the delay in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 20), LONGEST_RETRY_SECONDS)
        delay *= random.uniform(0.8, 1.2)  # noqa: S311
        self.add_after(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """The key was synced well: the next failure begins with the shortest delay."""
        self._failures.pop(key, None)

    async def take(self) -> Key:
        """The next key, marked as being synced until `done`."""
        key = await self._ready.get()
        self._waiting.discard(key)
        self._active.add(key)
        return key

    def done(self, key: Key) -> None:
        """The key is no longer being synced; it is queued again if it was added meanwhile."""
        self._active.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Cancel every timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _fire(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)


class Controller:
    """One controller: says in `__init__` what it watches, and in `sync` what to do about one key."""

    name: ClassVar[str]
    workers: ClassVar[int] = 2

    def __init__(self, context: Context) -> None:
        self.context = context
        self.client = context.client
        self.queue = Queue()
        self.recorder = EventRecorder(context.client, self.name)

    async def start(self) -> None:
        """Make what must exist before the first sync; nothing unless a controller says otherwise."""

    async def sync(self, key: Key) -> float | None:
        """Take a step for one key; the seconds after which to look again even without an event, or None."""
        raise NotImplementedError

    def watch(self, kind: Kind, keys_of: Callable[[Object], Iterable[Key]] = lambda obj: (key_of(obj),)) -> Informer:
        """Queue the keys that `keys_of` gives (the object's own unless told otherwise) for each change of a kind."""
        informer = self.context.informers.of(kind)

        def changed(_event: EventType, new: Object, old: Object | None) -> None:
            for key in keys_of(new):
                self.queue.add(key)
            if old is not None and labels_of(old) != labels_of(new):
                for key in keys_of(old):
                    self.queue.add(key)

        informer.subscribe(changed)
        return informer

    def watch_owned(self, kind: Kind, owners: Informer) -> Index:
        """Queue the controller (of the kind that `owners` has) of each object of `kind` that changes.

        An object without a controller queues those whose selector matches it, so that they can adopt it. Returns the
        index of the objects of `kind` by the uids of their owners.
        """
        informer = self.context.informers.of(kind)
        index = self.context.informers.owned(kind)

        def changed(_event: EventType, new: Object, old: Object | None) -> None:
            references = [controller_of(new), controller_of(old) if old is not None else None]
            for reference in references:
                if reference is not None and reference.get("kind") == owners.kind.kind:
                    self.queue.add((namespace_of(new), str(reference["name"])))
            if references[0] is None and (old is None or references[1] or labels_of(old) != labels_of(new)):
                for key in _matching_owners(owners, new):
                    self.queue.add(key)

        informer.subscribe(changed)
        return index

    async def run(self) -> None:
        """Sync keys until cancelled."""
        await self._start()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.workers):
                    group.create_task(self._work())
        finally:
            self.queue.close()

    async def _start(self) -> None:
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                return await self.start()
            except KubernetesError as error:
                log.warning("a controller cannot start yet", controller=self.name, error=str(error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_RETRY_SECONDS)

    async def _work(self) -> None:
        while True:
            key = await self.queue.take()
            try:
                seconds = await self.sync(key)
                self.queue.forget(key)
                if seconds is not None:
                    self.queue.add_after(key, seconds)
            except (ConflictError, NotFoundError):
                self.queue.retry(key)  # somebody else wrote or deleted meanwhile: usual, and settled by looking again
            except KubernetesError as error:
                if is_namespace_ending(error):
                    continue  # what could not be made is not wanted any more
                delay = self.queue.retry(key)
                log.warning(
                    "sync failed", controller=self.name, key=key, error=str(error), retry_seconds=round(delay, 2)
                )
            except Exception:  # one object that a controller cannot handle must not stop it for all others
                delay = self.queue.retry(key)
                log.exception("sync failed", controller=self.name, key=key, retry_seconds=round(delay, 2))
            finally:
                self.queue.done(key)


def is_namespace_ending(error: KubernetesError) -> bool:
    """Whether something was refused because its namespace is being deleted."""
    causes = (error.status.get("details") or {}).get("causes") or ()  # type: ignore[attr-defined]
    return isinstance(error, ForbiddenError) and any(c.get("reason") == "NamespaceTerminating" for c in causes)


def selector_of(owner: Mapping[str, Any]) -> LabelSelector:
    """`spec.selector` of a workload; one that cannot be understood selects nothing."""
    try:
        return from_label_selector((owner.get("spec") or {}).get("selector"))
    except (ValueError, KeyError):
        return from_label_selector(None)


def _matching_owners(owners: Informer, obj: Object) -> list[Key]:
    namespace, labels = namespace_of(obj), labels_of(obj)
    return [
        key
        for key, owner in owners.objects.items()
        if key[0] == namespace and selector_of(owner).requirements and selector_of(owner).matches(labels)
    ]
