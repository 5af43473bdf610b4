"""conmon, the engine's monitor of one container: it keeps the log, and notes how the container ended.

A container outlives its monitor when that is killed. Its output then goes nowhere (the next write may end it), exec and
attach fail, and nobody notes its exit code.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from binderops.node.pods.exits import ended
from binderops.node.pods.records import Record

SETTLE_SECONDS = 1.0
"""Both may be killed at once, by a shortage of memory say: that is a container's end like any other."""


async def outlived(record: Record) -> bool:
    """Wait until a container's process or its monitor has ended; whether the process goes on without a monitor."""
    if not record.monitor:
        return not await ended(record.pid)
    if not _watches(record):
        return not await ended(record.pid, timeout=SETTLE_SECONDS)
    waits = [asyncio.create_task(ended(pid)) for pid in (record.pid, record.monitor)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return not await ended(record.pid, timeout=SETTLE_SECONDS)


def _watches(record: Record) -> bool:
    """Whether the monitor is there. Its number may be another process' by now: a monitor names its container."""
    try:
        return record.id.encode() in Path(f"/proc/{record.monitor}/cmdline").read_bytes()
    except OSError:
        return False
