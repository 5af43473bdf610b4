"""When a certificate is to be renewed: by its CA's window (RFC 9773) where there is one, else by its lifetime.

Pure: moments come in, a moment goes out. All moments are cut to whole seconds, as annotations have them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

SHORT_LIVED = timedelta(days=10)
"""Of less life: renewed at half of it, others at two thirds. A failed attempt must leave time for others."""
LATEST = 0.9
"""Fraction of the lifetime after which no window holds renewal back: a window may be wrong."""
SPREAD = 0.02
"""Fraction of the lifetime over which certificates that were made together are renewed apart."""
LONGEST_PAUSE = timedelta(hours=1)
"""A window in the past means now (a revocation is near), but not again within this, or a third of a short life."""

ASK_AT_LEAST_EVERY = timedelta(days=1)  # RFC 9773 4.3.2: Retry-After clamped between a minute and a day
ASK_AT_MOST_EVERY = timedelta(minutes=1)
ASK_AGAIN = timedelta(hours=6)  # after an answer without Retry-After, or an error


@dataclass(frozen=True)
class Window:
    """When the CA would like a certificate to be renewed."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError("a window that ends before it starts is no answer (RFC 9773 4.2)")

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%dT%H:%M:%SZ}/{self.end:%Y-%m-%dT%H:%M:%SZ}"


def by_lifetime(certificate: x509.Certificate, *, chance: float | None = None) -> datetime:
    """The moment for a CA that suggests none; `chance` (0 to 1) places it within the spread."""
    begin, whole = certificate.not_valid_before_utc, life(certificate)
    fraction = 0.5 if whole < SHORT_LIVED else 2 / 3
    return _whole(begin + whole * (fraction + SPREAD * (random.random() if chance is None else chance)))  # noqa: S311


def by_window(certificate: x509.Certificate, window: Window, *, chance: float | None = None) -> datetime:
    """A uniformly random moment of the window; one in the past means at once.

    Never after nine tenths of the lifetime, and never so soon after issuance that a window that is always in the past
    would turn into an order a second.
    """
    begin, whole = certificate.not_valid_before_utc, life(certificate)
    part = random.random() if chance is None else chance  # noqa: S311
    chosen = window.start + (window.end - window.start) * part
    earliest, latest = begin + min(LONGEST_PAUSE, whole / 3), begin + whole * LATEST
    return _whole(min(max(chosen, earliest), latest))


def ask_again_at(now: datetime, retry_after: float | None) -> datetime:
    """When to ask for the window again, by what the CA said (in seconds)."""
    if retry_after is None:
        return _whole(now + ASK_AGAIN)
    return _whole(now + min(max(timedelta(seconds=retry_after), ASK_AT_MOST_EVERY), ASK_AT_LEAST_EVERY))


def life(certificate: x509.Certificate) -> timedelta:
    """From its first moment to its last."""
    return certificate.not_valid_after_utc - certificate.not_valid_before_utc


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
