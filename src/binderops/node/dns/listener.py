"""Cluster DNS' sockets: UDP and TCP on one address. Bounded in questions at once, connections, and time.

Names of the cluster are answered whatever else is asked: a pod that asks for names that nobody answers may hold its own
share of what waits for the host's resolvers, and keeps nobody from finding the hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, cast

import structlog

from binderops.errors import MachineError
from binderops.node.dns.responder import Responder

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 1024
MOST_OF_ONE = 32
"""Questions at once from one address that may wait for the host's resolvers."""
MOST_CONNECTIONS = 128
MOST_CONNECTIONS_OF_ONE = 8
IDLE_SECONDS = 10.0


@contextlib.asynccontextmanager
async def listening(responder: Responder, address: str, port: int) -> AsyncIterator[int]:
    """Answer on `address:port`, UDP and TCP, while the context lasts; gives the port (for port 0: the one chosen).

    MachineError when the port is taken.
    """
    loop = asyncio.get_running_loop()
    try:
        server = await asyncio.start_server(_Streams(responder).serve, address, port, limit=65537)
        port = int(server.sockets[0].getsockname()[1])
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(responder), local_addr=(address, port))
    except OSError as error:
        raise MachineError(
            "cluster DNS cannot listen",
            where=f"{address}:{port}",
            why=str(error),
            hint="see who holds the port: ss -lnp",
        ) from None
    try:
        yield port
    finally:
        transport.close()
        server.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: Counter[str] = Counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        source = str(addr[0])
        # What is not forwarded is dropped: a client asks again; a queue without end helps nobody.
        forward = self._waiting.total() < MOST_AT_ONCE and self._waiting[source] < MOST_OF_ONE
        self._waiting[source] += 1
        task = asyncio.create_task(self._respond(data, addr, forward=forward))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, source))

    def _ended(self, task: asyncio.Task[None], source: str) -> None:
        self._tasks.discard(task)
        self._waiting[source] -= 1
        if not self._waiting[source]:
            del self._waiting[source]

    async def _respond(self, data: bytes, addr: Any, *, forward: bool) -> None:
        try:
            answer = await self._responder.respond(data, forward=forward)
        except Exception:
            log.exception("a DNS question could not be answered")
            return
        if answer is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, addr)


class _Streams:
    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._open: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = str((writer.get_extra_info("peername") or ("",))[0])
        self._open[source] += 1
        try:
            if self._open.total() <= MOST_CONNECTIONS and self._open[source] <= MOST_CONNECTIONS_OF_ONE:
                await self._talk(reader, writer)
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            pass
        except Exception:
            log.exception("a DNS question could not be answered")
        finally:
            self._open[source] -= 1
            if not self._open[source]:
                del self._open[source]
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                answer = await self._responder.respond(await reader.readexactly(length), stream=True)
                if answer is None:
                    return
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
