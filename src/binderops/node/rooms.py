"""The node's rooms, and what keeps one running: restarted with back-off when it fails, never taking others along."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

_log = structlog.get_logger("node")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0  # seconds between restarts of a room
_CALM = 60.0  # seconds of running after which a failure counts as the first one again


class Room(NamedTuple):
    """A room's name, and a function that makes its coroutine: it runs until it is cancelled."""

    name: str
    run: Callable[[], Awaitable[None]]


async def keep_running(room: Room) -> None:
    """Run a room until cancelled; each failure is logged, and the room started again after a pause."""
    pause = _FIRST_PAUSE
    while True:
        began = time.monotonic()
        try:
            await room.run()
            why: Exception | None = None
        except Exception as error:  # one room's fault is not the node's
            why = error
        if time.monotonic() - began > _CALM:
            pause = _FIRST_PAUSE
        _log.error("a room stopped and is started again", room=room.name, pause_seconds=pause, exc_info=why)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
