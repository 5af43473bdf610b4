"""Who builds now and who waits: so many at once, first come, first served, and everyone who waits is told the place.

Nobody holds all turns: one visitor may hold a share of them, and lets others go first while it is used up. A build that
nobody waits for any more gives its place up when its turn comes.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from binderops.errors import BuildError

Tell = Callable[[int], None]

MOST_WAITING, MOST_WAITING_OF_ONE = 500, 50
SMALLEST_SHARE, SHARES = 2, 4
"""A visitor may hold a quarter of all turns, but two of them where there are few."""


@dataclass(eq=False)
class _Waiter:
    turn: asyncio.Future[None]
    tell: Tell
    visitor: str
    is_wanted: Callable[[], bool]


def _always() -> bool:
    return True


class Queue:
    """At most `limit` turns at once. The visitor "" is nobody in particular, and has no share."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._share = min(limit, max(SMALLEST_SHARE, limit // SHARES))
        self._held: Counter[str] = Counter()
        self._waiting: deque[_Waiter] = deque()

    @asynccontextmanager
    async def turn(
        self, tell: Tell, *, visitor: str = "", is_wanted: Callable[[], bool] = _always
    ) -> AsyncIterator[None]:
        """Wait for a turn and hold it; `tell` is called with the place (1 is next) at first and whenever it changes.

        Raises BuildError where too many wait already, or if nobody wants it any more when its turn comes.
        """
        await self._wait(tell, visitor, is_wanted)
        try:
            yield
        finally:
            self._give_back(visitor)

    async def _wait(self, tell: Tell, visitor: str, is_wanted: Callable[[], bool]) -> None:
        if self._free and self._may(visitor):
            self._take(visitor)
            return
        self._refuse_too_many(visitor)
        waiter = _Waiter(asyncio.get_running_loop().create_future(), tell, visitor, is_wanted)
        self._waiting.append(waiter)
        tell(len(self._waiting))
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._tell()
            elif not waiter.turn.cancelled() and waiter.turn.exception() is None:  # the turn came in the same moment
                self._give_back(visitor)
            raise

    def _refuse_too_many(self, visitor: str) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._drop_unwanted()
        if len(self._waiting) >= MOST_WAITING:
            raise BuildError("Too many builds wait already. Please try again later.")
        if visitor and sum(each.visitor == visitor for each in self._waiting) >= MOST_WAITING_OF_ONE:
            raise BuildError(
                f"{MOST_WAITING_OF_ONE} builds from your address wait already. Please try again when some are done."
            )

    def _may(self, visitor: str) -> bool:
        return not visitor or self._held[visitor] < self._share

    def _take(self, visitor: str) -> None:
        self._free -= 1
        self._held[visitor] += 1

    def _give_back(self, visitor: str) -> None:
        """The turn goes to who waits longest and may have it, never to a newcomer."""
        self._free += 1
        self._held[visitor] -= 1
        if not self._held[visitor]:
            del self._held[visitor]
        self._drop_unwanted()
        for waiter in list(self._waiting):
            if self._free and self._may(waiter.visitor):
                self._waiting.remove(waiter)
                self._take(waiter.visitor)
                waiter.turn.set_result(None)
        self._tell()

    def _drop_unwanted(self) -> None:
        for waiter in [each for each in self._waiting if not each.is_wanted()]:
            self._waiting.remove(waiter)
            waiter.turn.set_exception(BuildError("Nobody waited for this build any more. Please try again."))

    def _tell(self) -> None:
        for place, waiter in enumerate(self._waiting, start=1):
            waiter.tell(place)
