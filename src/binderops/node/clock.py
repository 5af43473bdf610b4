"""A clock of the machine that is wrong, or was: named where the operator looks, and outlived.

Nothing here trusts the wall clock for how long something took; what must use it (certificates, tokens, what the API
tells) is made so that a clock which comes right again finds it good.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock that says less is right: this program did not exist."""
VALID_FROM = datetime(1970, 1, 1, tzinfo=UTC)
"""From when on the node's own certificates are good: a machine that just started may not know the time yet."""
TOLERANCE_SECONDS = 5.0
LOOK_SECONDS = 5.0
NOTE_SECONDS = 60.0


def at_least(moment: datetime, known: Path) -> datetime:
    """`moment`, unless it cannot be: not before this program, nor before the file `known` was written."""
    try:
        written = datetime.fromtimestamp(known.stat().st_mtime, UTC)
    except OSError:
        written = EARLIEST
    return max(moment, EARLIEST, written)


def steady() -> float:
    """Seconds that nobody sets, and that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """Watches the wall clock. `note` is a file whose time is the last that this node knew."""

    def __init__(
        self, note: Path, *, wall: Callable[[], float] = time.time, steady: Callable[[], float] = steady
    ) -> None:
        self._note = note
        self._wall = wall
        self._steady = steady
        self._ahead = wall() - steady()
        self._noted = float("-inf")

    def fault_at_start(self) -> str | None:
        """What is wrong with the clock as the node starts."""
        now = datetime.fromtimestamp(self._wall(), UTC)
        known = at_least(VALID_FROM, self._note)
        if now + timedelta(minutes=1) >= known:
            return None
        return (
            f"the machine's clock says {now:%Y-%m-%d %H:%M:%S} UTC, and {known:%Y-%m-%d %H:%M:%S} UTC is past; "
            + _ADVICE
        )

    def fault_now(self) -> str | None:
        """That the clock was set since it was asked for last, and by how much; None if it was not."""
        ahead = self._wall() - self._steady()
        jump, self._ahead = ahead - self._ahead, ahead
        if self._steady() - self._noted >= NOTE_SECONDS:
            self._noted = self._steady()
            self._note.touch()
        if abs(jump) <= TOLERANCE_SECONDS:
            return None
        now = datetime.fromtimestamp(self._wall(), UTC)
        way = "forward" if jump > 0 else "back"
        by = timedelta(seconds=round(abs(jump)))
        return f"the machine's clock was set {way} by {by} and says {now:%Y-%m-%d %H:%M:%S} UTC now; " + _ADVICE

    async def run(self, tell: Callable[[str], Awaitable[None]]) -> None:
        """Call `tell` with each fault, until cancelled."""
        if told := self.fault_at_start():
            await tell(told)
        while True:
            try:
                told = self.fault_now()
            except OSError:  # a disk that takes nothing is told of elsewhere
                told = None
            if told:
                await tell(told)
            await asyncio.sleep(LOOK_SECONDS)


_ADVICE = (
    "certificates of hosts outside, cron jobs and the culling of idle servers follow it; if it is wrong, set it "
    "(timedatectl): nothing has to be started anew"
)
