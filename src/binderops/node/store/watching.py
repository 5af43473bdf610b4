"""Watches: a bounded history for each resource, and watchers that are fed from it and from what is committed next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from binderops.node.store.records import Change, Record

HISTORY = 1024  # changes kept for each resource, minutes of a busy node,
HISTORY_BYTES = 1024 * 1024  # and bytes: there are a dozen busy resources; who is further behind lists again
BACKLOG = 4096  # events that one watcher may be behind before it is cut off,
BACKLOG_BYTES = 16 * 1024 * 1024  # and bytes

Matches = Callable[[Record], bool]


class ExpiredVersionError(Exception):
    """The history does not reach back to the resource version: list again."""


class Event(NamedTuple):
    """What a watch sends: ADDED, MODIFIED or DELETED, and the object."""

    type: str
    record: Record


def event_for(change: Change, matches: Matches) -> Event | None:
    """What a change means to a watcher that sees only what matches (a selector's transitions are adds and deletes)."""
    before = change.previous is not None and matches(change.previous)
    after = not change.gone and matches(change.record)
    if after:
        return Event("MODIFIED" if before else "ADDED", change.record)
    if before:
        return Event("DELETED", change.record if change.gone else change.left())
    return None


class Watcher:
    """The receiving end of one watch. `closed` is set when it was too slow: its events are lost."""

    def __init__(self, history: History, matches: Matches) -> None:
        self._history = history
        self._matches = matches
        self._events: deque[Event] = deque()
        self._behind = 0  # bytes
        self._arrived = asyncio.Event()
        self.closed = asyncio.Event()

    def replay(self, change: Change) -> None:
        """Take a change of the history, however many there are: who asks for them is not behind yet."""
        event = event_for(change, self._matches)
        if event is not None:
            self._events.append(event)

    def offer(self, change: Change) -> None:
        """Take a change if it concerns this watcher; a watcher that is too far behind is closed instead."""
        event = event_for(change, self._matches)
        if event is None:
            return
        self._behind += len(event.record.body)
        if len(self._events) >= BACKLOG or self._behind > BACKLOG_BYTES:
            self._events.clear()
            self.close()
            self.closed.set()
            return
        self._events.append(event)
        self._arrived.set()

    async def wait(self, timeout: float) -> list[Event]:
        """Return what has arrived, at least one event unless `timeout` seconds passed first or the watcher closed."""
        if not self._events and not self.closed.is_set():
            try:
                async with asyncio.timeout(timeout):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        events = list(self._events)
        self._events.clear()
        self._behind = 0
        self._arrived.clear()
        return events

    def close(self) -> None:
        """Stop receiving, and wake who waits."""
        self._history.watchers.discard(self)
        self._arrived.set()


def _held(change: Change) -> int:
    """Bytes that a change keeps: a deletion also its object as it was, which nothing else needs any more."""
    last = change.previous if change.gone else None
    return len(change.record.body) + (len(last.body) if last else 0)


class History:
    """The last changes of one resource, and who watches it."""

    def __init__(self, floor: int) -> None:
        self._changes: deque[Change] = deque()
        self._bytes = 0
        self.floor = floor  # versions below are not replayed
        self.last = floor  # the version of the last change
        self.watchers: set[Watcher] = set()

    def add(self, change: Change) -> None:
        """Remember a committed change and give it to every watcher."""
        self._changes.append(change)
        self._bytes += _held(change)
        while len(self._changes) > HISTORY or (self._bytes > HISTORY_BYTES and len(self._changes) > 1):
            forgotten = self._changes.popleft()
            self._bytes -= _held(forgotten)
            self.floor = forgotten.version
        self.last = change.version
        for watcher in tuple(self.watchers):
            watcher.offer(change)

    def watch(self, matches: Matches, since: int) -> Watcher:
        """Watch what was committed after `since`; ExpiredVersionError when that is not known any more."""
        if since < self.floor:
            raise ExpiredVersionError(f"too old resource version: {since} ({self.floor})")
        watcher = Watcher(self, matches)
        for change in self._changes:
            if change.version > since:
                watcher.replay(change)
        self.watchers.add(watcher)
        return watcher
