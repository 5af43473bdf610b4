"""How a program that works through the Kubernetes API runs: until somebody asks it to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` until it ends, or SIGTERM or SIGINT cancels it; its own errors are raised."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.info("stopped")
