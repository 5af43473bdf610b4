"""Who builds now and who waits: so many at once, first come, first served, and everyone who waits is told the place."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

Tell = Callable[[int], None]


@dataclass(eq=False)
class _Waiter:
    turn: asyncio.Future[None]
    tell: Tell


class Queue:
    """At most `limit` turns at once."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[_Waiter] = deque()

    @asynccontextmanager
    async def turn(self, tell: Tell) -> AsyncIterator[None]:
        """Wait for a turn and hold it; `tell` is called with the place (1 is next) at first and whenever it changes."""
        await self._wait(tell)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, tell: Tell) -> None:
        if self._free:
            self._free -= 1
            return
        waiter = _Waiter(asyncio.get_running_loop().create_future(), tell)
        self._waiting.append(waiter)
        tell(len(self._waiting))
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._tell()
            else:  # the turn came in the same moment
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """The turn goes to who waits longest, never to a newcomer."""
        if not self._waiting:
            self._free += 1
            return
        self._waiting.popleft().turn.set_result(None)
        self._tell()

    def _tell(self) -> None:
        for place, waiter in enumerate(self._waiting, start=1):
            waiter.tell(place)
