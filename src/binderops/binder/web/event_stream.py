"""The answer that is a stream of events. Thousands may watch one build: an event costs each of them one write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

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
        self.keepalive = keepalive
        self.sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the events end or the reader leaves."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        task = asyncio.current_task()
        assert task is not None
        reader = _Reader(self, task, receive, send)
        try:
            await self._send(send)
        except asyncio.CancelledError:
            if not reader.has_left or task.uncancel() > 0:
                raise
        finally:
            reader.stop()

    async def _send(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            async for item in events:
                self.sent += 1
                await send(_body(frame(item)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Reader:
    """Looks after one reader: breaks the sending off when it leaves, and sends a comment whenever nothing was sent for
    so long that somebody between might take the stream for dead.
    """

    __slots__ = ("_before", "_leaving", "_send", "_sending", "_stream", "_task", "_timer", "has_left")

    def __init__(self, stream: EventStream, task: asyncio.Task[Any], receive: Receive, send: Send) -> None:
        self._stream = stream
        self._task: asyncio.Task[Any] | None = task
        self._send = send
        self._before = stream.sent
        self._sending: asyncio.Future[None] | None = None
        self._timer = task.get_loop().call_later(stream.keepalive, self._look)
        self._leaving = task.get_loop().create_task(_left(receive))
        self._leaving.add_done_callback(self._leave)
        self.has_left = False

    def stop(self) -> None:
        """The stream has ended."""
        self._task = None
        self._timer.cancel()
        self._leaving.cancel()
        if self._sending is not None:
            self._sending.cancel()

    def _leave(self, leaving: asyncio.Task[None]) -> None:
        if self._task is not None and not leaving.cancelled():
            self.has_left = True
            self._task.cancel()

    def _look(self) -> None:
        is_slow = self._sending is not None and not self._sending.done()
        if self._stream.sent == self._before and not is_slow:
            self._sending = asyncio.ensure_future(self._send(_body(_KEEPALIVE)))
        self._before = self._stream.sent
        self._timer = asyncio.get_running_loop().call_later(self._stream.keepalive, self._look)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _body(content: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": content, "more_body": True}
