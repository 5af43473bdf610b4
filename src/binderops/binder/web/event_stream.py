"""The answer that is a stream of events. Thousands may watch one build: an event costs each of them one write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from binderops.binder.events import Event, frame

KEEPALIVE_SECONDS = 25.0
MEDIA_TYPE = "text/event-stream"
_KEEPALIVE = b":keepalive\n\n"


class EventStream(Response):
    """Frames of all events, and a comment whenever `keepalive` seconds passed without one.

    Where the reader leaves, the generator is closed: what it waits for is cancelled. (Beside Starlette's
    StreamingResponse, which has a task group for each reader, each event would need a timer and a task.)
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        events: AsyncGenerator[Event, None],
        *,
        headers: Mapping[str, str] | None = None,
        keepalive: float = KEEPALIVE_SECONDS,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-cache", **(headers or {})})
        self._events = events
        self._keepalive = keepalive
        self._sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the events end or the reader leaves."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sending, leaving = asyncio.create_task(self._send(send)), asyncio.create_task(_left(receive))
        try:
            done: set[asyncio.Task[None]] = set()
            while not done:
                before = self._sent
                done, _ = await asyncio.wait(
                    {sending, leaving}, timeout=self._keepalive, return_when=asyncio.FIRST_COMPLETED
                )
                if not done and self._sent == before:
                    await send(_body(_KEEPALIVE))
            if sending in done:
                await sending
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            async for item in events:
                self._sent += 1
                await send(_body(frame(item)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _body(content: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": content, "more_body": True}
