"""Seeing a process end at once: a pidfd becomes readable then (pidfd_open(2)), no polling, for any process."""

from __future__ import annotations

import asyncio
import os


async def ended(pid: int, *, timeout: float | None = None) -> bool:
    """Wait until process `pid` has ended; False if `timeout` seconds pass first. True for one that is not there."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def note() -> None:
        if not over.done():
            over.set_result(None)

    loop.add_reader(descriptor, note)
    try:
        async with asyncio.timeout(timeout):
            await over
        return True
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
