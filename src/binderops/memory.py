"""Keeping the process small: glibc holds on to what was freed until it is asked to give it back."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import resource
from pathlib import Path

_AFTER_START = 3.0  # seconds; imports and first lists leave the most garbage
LOOK_SECONDS = 10.0
WORTH_IT = 8 * 1024 * 1024
"""Bytes of growth; a trim takes a few milliseconds, a collection with thousands of objects a tenth of a second."""

AT_LEAST_SECONDS = 300.0
"""Between two collections: what the last one kept since it was in use just then may be free since."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_LARGE = 128 * 1024  # bytes


def keep_apart() -> None:
    """Have glibc map large blocks by themselves, for as long as the process lives, and use two arenas.

    By default it raises its limit with each large block that is freed. Every TLS connection has a buffer of 256 KiB,
    hardly ever filled: in the heap each costs memory whole and leaves a hole; mapped, it costs the pages it used.
    Must be called before threads start.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in ((_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, _LARGE), (_M_ARENA_MAX, 2)):
        mallopt(parameter, value)


class _Usage(ctypes.Structure):
    """struct mallinfo2 of malloc.h: `free` are the bytes that were freed and are still the process's."""

    _fields_ = (
        *((f"other{number}", ctypes.c_size_t) for number in range(8)),
        ("free", ctypes.c_size_t),
        ("top", ctypes.c_size_t),
    )


async def give_back(*, every: float = LOOK_SECONDS, worth: int = WORTH_IT, at_least: float = AT_LEAST_SECONDS) -> None:
    """Return freed memory to the machine whenever the process has grown by `worth` bytes, until cancelled.

    Also whenever that much more has become free in it: what thousands of objects held for an hour goes without growth.
    And each `at_least` seconds: else each busy hour would leave up to `worth` bytes more, for ever.
    """
    try:
        library = ctypes.CDLL(None)
        trim, usage = library.malloc_trim, library.mallinfo2
    except (OSError, AttributeError):  # another C library: it has its own ways
        return
    usage.restype = _Usage
    await asyncio.sleep(_AFTER_START)
    gc.collect()
    gc.freeze()  # what lives now lives for ever: later collections need not look at it
    trim(0)
    floor, free = _resident(), usage().free
    time = asyncio.get_running_loop().time
    collected = time()
    while True:
        await asyncio.sleep(every)
        now = _resident()
        is_to_be_collected = now > floor + worth or time() > collected + at_least
        if is_to_be_collected or usage().free > free + worth:
            if is_to_be_collected:
                gc.collect()
                collected = time()
            trim(0)
            now = floor = _resident()
            free = usage().free  # given back, it counts as free all the same
        floor, free = min(floor, now), min(free, usage().free)


def _resident() -> int:
    """Bytes of this process in memory."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()
