"""One build of the platform's images at a time on a machine."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from binderops.errors import ImageError

_LOOK_AGAIN_SECONDS = 0.2


@asynccontextmanager
async def exclusive(path: Path, *, timeout_seconds: float, waiting: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the lock file at `path`; the kernel frees it when this process ends, however it ends.

    `waiting` is called once when somebody else holds it. Raises ImageError after `timeout_seconds`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await _acquire(descriptor, path, timeout_seconds, waiting)
        yield
    finally:
        os.close(descriptor)


async def _acquire(descriptor: int, path: Path, timeout_seconds: float, waiting: Callable[[], None]) -> None:
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                waiting()
                told = True
        if asyncio.get_running_loop().time() > deadline:
            raise ImageError(
                "the images are being built by another command",
                where=str(path),
                why=f"it did not finish within {timeout_seconds:.0f} s",
                hint="wait for it, or stop it",
            )
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
