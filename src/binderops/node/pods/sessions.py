"""Ending what was started inside a container and is not waited for any longer."""

from __future__ import annotations

import asyncio
import os
import signal

import structlog

from binderops.errors import EngineError, EngineNotFoundError
from binderops.node.pods.exits import is_of
from binderops.podman import Podman

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 90.0
"""How long to ask the engine for the process: one that hangs is started anew after a minute."""
LONGEST_PAUSE_SECONDS = 5.0


async def end_session(podman: Podman, engine_id: str, session: str) -> None:
    """Kill the process of exec session `session` in container `engine_id`, and what it started.

    The engine itself ends none: closing the connection leaves the process running. One that has put itself into another
    process group stays.
    """
    pause = 0.05
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    pid = await podman.containers.exec_process(session)
                except EngineNotFoundError:
                    return
                except EngineError:
                    pid = 0
                if pid is None or (pid and _kill(engine_id, pid)):
                    return
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
    except TimeoutError:
        log.warning("what was given up in a container was not found to be ended", container=engine_id, session=session)


def _kill(engine_id: str, pid: int) -> bool:
    """Kill a process that the runtime made the first of its session, with its group; false if it is not there."""
    if not is_of(engine_id, pid):
        return False
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        return False
    return True
