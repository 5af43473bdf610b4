"""The raw stream of an exec or attach: standard input one way, standard output and error the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

STDIN, STDOUT, STDERR = 0, 1, 2
CHUNK = 32768


class RawStream:
    """A hijacked connection. Without a terminal, output is framed: one byte of stream, three zero, four of length."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, terminal: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._terminal = terminal

    async def write(self, data: bytes) -> None:
        """Send to standard input."""
        self._writer.write(data)
        await self._writer.drain()

    def end_input(self) -> None:
        """Close standard input: the process reads end of file; output goes on."""
        if self._writer.can_write_eof():
            with contextlib.suppress(OSError):
                self._writer.write_eof()

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Pieces of output as (STDOUT or STDERR, bytes), until the process ends or closes them."""
        while True:
            try:
                if self._terminal:
                    data = await self._reader.read(CHUNK)
                    if not data:
                        return
                    yield STDOUT, data
                    continue
                head = await self._reader.readexactly(8)
                data = await self._reader.readexactly(int.from_bytes(head[4:8], "big"))
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            yield head[0], data

    async def close(self) -> None:
        """Close the connection; the process itself goes on."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
