"""What an image unpacks to is bounded by the disk alone, so pulls end before the disk is low.

A layer of a megabyte can unpack to a terabyte of zeros, which no manifest tells. Were it left to the disk's shortage,
pods that have nothing to do with it would be evicted for the room.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import structlog

from binderops.errors import PullError
from binderops.node.pods.ephemeral import Room
from binderops.podman import EngineSettings, find_service

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.05
"""A disk of 2 GB/s takes 0.1 GB meanwhile; `least_for_pulls` is up to a GiB more than what is low."""
STOP_SECONDS = 20.0
_UNPACKERS = frozenset({"storage-untar", "storage-applyLayer"})
"""What containers/storage calls the processes, children of the engine's, that unpack a layer."""


class PullRoom:
    """Lets pulls of one engine go on while its disk has `room`."""

    def __init__(self, settings: EngineSettings, room: Callable[[], Room]) -> None:
        self._settings = settings
        self._room = room

    async def bounded(self, name: str, pull: Coroutine[Any, Any, str]) -> str:
        """What `pull` returns; PullError where the disk's room ends first, or was not there: nothing of it stays."""
        task = asyncio.ensure_future(pull)
        try:
            while not task.done():
                if why := self._tight():
                    await self._stop(task)
                    log.warning("a pull was stopped", image=name, why=why)
                    raise PullError(f"cannot pull {name}", why=why)
                await asyncio.wait({task}, timeout=LOOK_SECONDS)
            return task.result()
        finally:
            task.cancel()

    def _tight(self) -> str:
        room = self._room()
        if room.free < room.least_for_pulls:
            found, kept = f"{room.free} bytes", f"{room.least_for_pulls} of {room.size}"
        elif room.free_inodes < room.least_inodes_for_pulls:
            found, kept = f"{room.free_inodes} inodes", f"{room.least_inodes_for_pulls} of {room.inodes}"
        else:
            return ""
        return (
            f"the pull was stopped: {found} of the node's disk are free, and a pull leaves {kept}. It is tried again; "
            "if it is this image that takes the room, it unpacks to more than there is"
        )

    async def _stop(self, task: asyncio.Future[str]) -> None:
        """The engine sees that nobody waits any more, but not while it unpacks: those processes are ended.

        What is half unpacked the engine removes itself. Other pulls that unpack now fail as well, and are tried again:
        there is no room for them either.
        """
        task.cancel()
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            ended = await asyncio.to_thread(self._end_unpackers)
            if task.done() and not ended:
                return
            await asyncio.wait({task}, timeout=LOOK_SECONDS)

    def _end_unpackers(self) -> int:
        service = find_service(self._settings)
        unpackers = [] if service is None else [child for child in _children(service) if _unpacks(child)]
        for pid in unpackers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(unpackers)


def _children(pid: int) -> Iterator[int]:
    """Of all its threads; psutil would cost the node a megabyte for this one question."""
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, thread.read_text().split())


def _unpacks(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace") in _UNPACKERS
    except OSError:
        return False
