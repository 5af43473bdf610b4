"""How long the event loop did not get to run: held up by work of its own, or by a machine that gave it no time."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

STEP_SECONDS = 0.05
TOLERATED_SECONDS = 0.02
"""That one turn of the loop may come late without being counted."""


class Lateness:
    """While entered, has itself woken at each step; `seconds` is how much later than asked for that was, in all."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._ask()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._note()

    def _ask(self) -> None:
        self._due = self._loop.time() + STEP_SECONDS
        self._handle = self._loop.call_at(self._due, self._woken)

    def _woken(self) -> None:
        self._note()
        self._ask()

    def _note(self) -> None:
        late = self._loop.time() - self._due
        if late > TOLERATED_SECONDS:
            self.seconds += late
