"""What many read as it comes: kept once for all of them, who are woken in groups."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from binderops.binder.events import Event, frame

GROUP = 50
"""Readers woken in one turn of the loop. All at once, thousands keep every other request waiting until they are through
with an event; in groups, one waits for a group or two."""
MOST_BYTES = 1 << 20
"""Of all events together, as they are sent."""


class Feed:
    """Events in their order. A reader costs a place in a set, whatever the number of events that it has not read.

    One that is slower than `kept` events, or than MOST_BYTES of them, loses those in the middle: a build may print
    lines as long as it likes.
    """

    def __init__(self, *, kept: int) -> None:
        self._events: deque[Event] = deque()
        self._kept = kept
        self._bytes = 0
        self._count = 0
        self._is_over = False
        self._waiting: set[asyncio.Future[None]] = set()
        self._due: deque[asyncio.Future[None]] = deque()
        self.readers = 0
        """How many read it now."""

    def append(self, item: Event) -> None:
        """One more event for everyone."""
        self._events.append(item)
        self._bytes += len(frame(item))
        while len(self._events) > self._kept or (self._bytes > MOST_BYTES and len(self._events) > 1):
            self._bytes -= len(frame(self._events.popleft()))
        self._count += 1
        self._wake()

    def end(self) -> None:
        """Nothing more comes: readers end when they have read what there is."""
        self._is_over = True
        self._wake()

    async def read(self, *, last: int) -> AsyncIterator[Event]:
        """The `last` events so far, then each that comes, until the end."""
        following = max(0, self._count - last)
        self.readers += 1
        try:
            while True:
                while following < self._count:
                    first = self._count - len(self._events)
                    following = max(following, first)
                    item = self._events[following - first]
                    following += 1
                    yield item
                if self._is_over:
                    return
                await self._more()
        finally:
            self.readers -= 1

    async def _more(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def _wake(self) -> None:
        if not self._due and self._waiting:
            asyncio.get_running_loop().call_soon(self._wake_group)
        self._due.extend(self._waiting)
        self._waiting.clear()

    def _wake_group(self) -> None:
        for _ in range(min(GROUP, len(self._due))):
            waiting = self._due.popleft()
            if not waiting.done():
                waiting.set_result(None)
        if self._due:
            asyncio.get_running_loop().call_soon(self._wake_group)
