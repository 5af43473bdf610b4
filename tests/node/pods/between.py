"""What stands between a node and its engine: requests are counted, answers held back or given in the engine's place."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.node.pods.conftest import Node

Wanted = Callable[[str], bool]
"""Whether a request is meant, by its line: "GET /v4.0.0/libpod/containers/json?all=true HTTP/1.1"."""
LONGEST_HEAD = 1 << 20


class Between:
    """Passes everything on, but for what the test asks for."""

    def __init__(self, engine: Path) -> None:
        self.lines: list[str] = []
        self.held = asyncio.Event()
        """Set once the engine has answered the request whose answer is held back."""
        self._engine = engine
        self._hold: Wanted | None = None
        self._refuse: Wanted | None = None
        self._released = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: list[asyncio.StreamWriter] = []

    def hold(self, wanted: Wanted) -> None:
        """Hold back the answer to the next request that is `wanted`, until `release`."""
        self.held.clear()
        self._released.clear()
        self._hold = wanted

    def release(self) -> None:
        self._released.set()

    def refuse(self, wanted: Wanted | None) -> None:
        """Answer what is `wanted` as an engine that cannot do it, from now on."""
        self._refuse = wanted

    def count(self, wanted: Wanted) -> int:
        """How many requests that are `wanted` have come."""
        return sum(wanted(line) for line in self.lines)

    def cut_events(self) -> None:
        """End the streams of events, as an engine does that ends: the node compares everything then."""
        for writer in self._streams:
            writer.close()
        self._streams.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the node's."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            from_engine, to_engine = await asyncio.open_unix_connection(str(self._engine))
            free = asyncio.Event()
            free.set()
            answers = asyncio.create_task(self._answers(from_engine, writer, free))
            try:
                await self._requests(reader, to_engine, writer, free)
                await answers
            finally:
                answers.cancel()
                to_engine.close()
                writer.close()

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        engine: asyncio.StreamWriter,
        node: asyncio.StreamWriter,
        free: asyncio.Event,
    ) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            names = dict(field.lower().split(": ", 1) for field in fields if ": " in field)
            body = await reader.readexactly(int(names.get("content-length", 0)))
            self.lines.append(line)
            if "/events?" in line:
                self._streams.append(node)
            if self._refuse is not None and self._refuse(line):
                node.write(refusal("the test says no"))
                continue
            if self._hold is not None and self._hold(line):
                self._hold = None
                free.clear()
            engine.write(head + body)
            if "upgrade" in names or "transfer-encoding" in names:  # no request follows in a form that is known here
                while data := await reader.read(1 << 16):
                    engine.write(data)
                    await engine.drain()
                engine.write_eof()
                return

    async def _answers(self, engine: asyncio.StreamReader, node: asyncio.StreamWriter, free: asyncio.Event) -> None:
        while data := await engine.read(1 << 16):
            if not free.is_set():
                self.held.set()
                await self._released.wait()
                free.set()
            node.write(data)
            await node.drain()
        node.close()


def refusal(why: str) -> bytes:
    """An answer of libpod's that says why not."""
    body = json.dumps({"cause": why, "message": why, "response": 500}).encode()
    head = (
        f"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def standing_between(node: Node) -> AsyncIterator[Between]:
    """Between a node and its engine, which go on running; the node's process is started anew at either end."""
    aside = node.socket.with_name("aside.sock")
    await asyncio.to_thread(node.end)
    node.socket.rename(aside)
    between = Between(aside)
    server = await asyncio.start_unix_server(between.serve, path=str(node.socket), limit=LONGEST_HEAD)
    try:
        await asyncio.to_thread(node.start)
        yield between
    finally:
        await asyncio.to_thread(node.end)
        server.close()
        await between.close()
        aside.rename(node.socket)
        await asyncio.to_thread(node.start)
