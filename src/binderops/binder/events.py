"""The events of a launch, as they stand in the stream, and their frames."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

Event = dict[str, Any]

KEEPALIVE_SECONDS = 25.0
_KEEPALIVE = b":keepalive\n\n"
_FAILED = frozenset({"failed", "failure"})


def event(phase: str, message: str, **more: Any) -> Event:
    """One event; messages end with a newline, since clients append them to a log."""
    return {"phase": phase, "message": f"{message}\n", **more}


def failed(message: str, **more: Any) -> Event:
    """The last event of a launch that cannot be served."""
    return event("failed", message, **more)


def has_failed(item: Event) -> bool:
    """Whether an event (also a log line of a build) says that it is over."""
    return str(item.get("phase", "")).lower() in _FAILED


def frame(item: Event) -> bytes:
    """The event as one `data:` frame."""
    return b"data: " + json.dumps(item, separators=(",", ":")).encode() + b"\n\n"


async def frames(events: AsyncGenerator[Event, None], *, keepalive: float = KEEPALIVE_SECONDS) -> AsyncIterator[bytes]:
    """Frames of all events, and a comment whenever `keepalive` seconds passed without one.

    Where the reader leaves, the generator is closed: what it waits for is cancelled.
    """
    waiting: asyncio.Future[Event] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({waiting}, timeout=keepalive)
            if not done:
                yield _KEEPALIVE
                continue
            try:
                item = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            yield frame(item)
    finally:
        if waiting and not waiting.done():
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await events.aclose()
