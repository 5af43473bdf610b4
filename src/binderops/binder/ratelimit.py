"""How often one address may launch: a fixed window for each, in this process's memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

# Addresses whose windows ended are forgotten when there are more than this.
_MANY = 10_000


@dataclass
class _Window:
    remaining: int
    reset: float


@dataclass(frozen=True)
class Count:
    """What one request was counted as; `allowed` is False for the one too many."""

    allowed: bool
    remaining: int
    reset: int
    limit: int

    @property
    def headers(self) -> dict[str, str]:
        """The headers of an answer that was counted."""
        return {
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(self.reset),
            "x-ratelimit-limit": str(self.limit),
        }


class RateLimit:
    """`limit` requests in `period` seconds; 0: any number."""

    def __init__(self, *, limit: int, period: int, clock: Callable[[], float] = time.time) -> None:
        self.limit = limit
        self.period = period
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    def count(self, key: str) -> Count:
        """Count one request; counting goes on below zero."""
        now = self._clock()
        if len(self._windows) > _MANY:
            self._windows = {key: window for key, window in self._windows.items() if window.reset > now}
        window = self._windows.get(key)
        if window is None or window.reset <= now:
            window = self._windows[key] = _Window(self.limit, now + self.period)
        window.remaining -= 1
        return Count(window.remaining >= 0, window.remaining, math.ceil(window.reset), self.limit)
