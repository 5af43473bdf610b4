"""Backends that tell what reached them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Echo:
    """Answers every request with JSON about it; keeps an event stream or an upgraded connection open where asked."""

    def __init__(self, name: str) -> None:
        self.name, self.port = name, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                method, target, _ = lines[0].split(" ", 2)
                headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines[1:] if line)}
                if headers.get("upgrade"):
                    await self._upgraded(reader, writer)
                    return
                if target.startswith("/stream"):
                    await self._stream(writer)
                    return
                await reader.readexactly(int(headers.get("content-length", "0")))
                body = json.dumps({"name": self.name, "method": method, "target": target, "headers": headers}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _upgraded(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while data := await reader.read(1024):
            writer.write(data)
            await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(1000):
            writer.write(b"data: %d\n\n" % number)
            await writer.drain()
            await asyncio.sleep(0.02)


@asynccontextmanager
async def echo_server(name: str, *, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Echo]:
    """A server of HTTP/1.1 on loopback; port 0: a free one."""
    echo = Echo(name)
    server = await asyncio.start_server(echo.serve, address, port)
    echo.port = server.sockets[0].getsockname()[1]
    try:
        yield echo
    finally:
        server.close()
