"""Keeping the process small: glibc holds on to what was freed until it is asked to give it back."""

from __future__ import annotations

import asyncio
import ctypes
import gc

_AFTER_START = 3.0  # seconds; imports and first lists leave the most garbage
_EVERY = 120.0  # seconds


async def give_back() -> None:
    """Return freed memory to the machine from time to time, until cancelled. A trim takes a few milliseconds."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library: it has its own ways
        return
    await asyncio.sleep(_AFTER_START)
    gc.collect()
    gc.freeze()  # what lives now lives for ever: later collections need not look at it
    while True:
        trim(0)
        await asyncio.sleep(_EVERY)
