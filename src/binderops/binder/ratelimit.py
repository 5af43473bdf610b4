"""How often one address may launch: a fixed window for each, in this process's memory."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

# Addresses whose windows ended are forgotten when there are more than this, but not at each request: it takes long.
_MANY, _FORGET_SECONDS = 10_000, 10.0
_ONE_SUBSCRIBER = 64  # bits of an IPv6 address: the rest is a visitor's own to choose (RFC 6177)


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
        self._forgot = 0.0

    def count(self, address: str) -> Count:
        """Count one request of an address, or of an IPv6 network of one subscriber; counting goes on below zero."""
        now, key = self._clock(), visitor_of(address)
        if len(self._windows) > _MANY and now - self._forgot > _FORGET_SECONDS:
            self._forgot = now
            self._windows = {key: window for key, window in self._windows.items() if window.reset > now}
        window = self._windows.get(key)
        if window is None or window.reset <= now:
            window = self._windows[key] = _Window(self.limit, now + self.period)
        window.remaining -= 1
        return Count(window.remaining >= 0, window.remaining, math.ceil(window.reset), self.limit)


def visitor_of(address: str) -> str:
    """Who an address stands for: itself, or the IPv6 network of one subscriber."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _ONE_SUBSCRIBER), strict=False))
