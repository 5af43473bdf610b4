"""Seeing a process end at once: a pidfd becomes readable then (pidfd_open(2)), no polling, for any process."""

from __future__ import annotations

import asyncio
import os
import select
from pathlib import Path

from binderops.node.pods.records import Record


def lives(record: Record) -> bool:
    """Whether the process of a container runs. Its number may be another process' by now: see its control group."""
    try:
        descriptor = os.pidfd_open(record.pid)
    except OSError:
        return False
    try:
        return not _over(descriptor) and is_of(record.id, record.pid)
    finally:
        os.close(descriptor)


def is_of(engine_id: str, pid: int) -> bool:
    """Whether process `pid` is one of the container's, by its control group; False where it is not there."""
    try:
        return engine_id in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    except OSError:
        return False


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
        return _over(descriptor)  # without any time to wait, the loop gives up before it looks
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _over(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
