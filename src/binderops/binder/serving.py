"""What listens for the binder, and how it stops.

A pod that is told to end is still asked for some seconds, until its Service and whoever balances over it have let go of
it: it goes on serving, then takes no new connections, finishes what is under way, and ends, all within the 30 s that a
pod has. Streams may be open for minutes: one that is cut off then is taken up again by its page, at the new pod.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette

log = structlog.get_logger(__name__)

LINGER_SECONDS = 3.0
FINISH_SECONDS = 18


class Listener(uvicorn.Server):
    """One port. Signals are not its own: the program ends all of them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def listener(app: Starlette, port: int) -> Listener:
    """What serves `app` at `port` of every address: a pod's own; the Service and policies decide who reaches it."""
    config = uvicorn.Config(
        app,
        host="0.0.0.0",
        port=port,
        log_config=None,
        lifespan="off",
        access_log=False,
        # Our own rules say whom to believe (web/visitors).
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=FINISH_SECONDS,
    )
    return Listener(config)


async def serve_until_told(*listeners: Listener) -> int:
    """Serve until SIGTERM or (without lingering) SIGINT; its number. A second SIGINT leaves what is under way."""
    told, interrupted = asyncio.Event(), asyncio.Event()
    numbers: list[int] = []

    def tell(number: int) -> None:
        if interrupted.is_set():
            for each in listeners:
                each.force_exit = True
        if number == signal.SIGINT:
            interrupted.set()
        numbers.append(number)
        told.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell, number)
    serving = asyncio.gather(*(each.serve() for each in listeners))
    try:
        await _first(serving, told)
        log.info("told to end", signal=signal.Signals(numbers[0]).name)
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                await _first(serving, interrupted)
        except TimeoutError:
            log.info("no new connections are taken", finishes_within=FINISH_SECONDS)
    finally:
        for each in listeners:
            each.should_exit = True
        await serving
    return numbers[0]


async def _first(serving: asyncio.Future[list[None]], event: asyncio.Event) -> None:
    """Wait for the event; what ends the listeners before it is raised."""
    waiting = asyncio.create_task(event.wait())
    try:
        either: set[asyncio.Future[Any]] = {serving, waiting}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
    finally:
        waiting.cancel()
