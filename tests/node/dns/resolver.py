"""A resolver in the host's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rcode


class FakeResolver(asyncio.DatagramProtocol):
    """A resolver on the host: answers from a table of zone-file lines, counts what it was asked."""

    def __init__(self, answers: dict[str, list[str]]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.silent = False
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self.answer(data)
        if answer is None or self._transport is None:
            return
        if len(answer) > 1232:
            cut = dns.message.make_response(dns.message.from_wire(data))
            cut.flags |= dns.flags.TC
            answer = cut.to_wire()
        self._transport.sendto(answer, addr)

    async def serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        answer = self.answer(await reader.readexactly(length)) or b""
        writer.write(len(answer).to_bytes(2, "big") + answer)
        await writer.drain()
        writer.close()

    def answer(self, data: bytes) -> bytes | None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text().lower()
        self.asked.append(name)
        if self.silent:
            return None
        response = dns.message.make_response(query)
        lines = self.answers.get(name)
        if lines is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        else:
            text = "id 1\nopcode QUERY\nrcode NOERROR\nflags QR\n;ANSWER\n" + "\n".join(lines)
            response.answer = dns.message.from_text(text).answer
        return response.to_wire(max_size=65535)


@asynccontextmanager
async def resolving(answers: dict[str, list[str]], address: str, port: int = 0) -> AsyncIterator[FakeResolver]:
    """One that listens, by TCP and UDP."""
    fake = FakeResolver(answers)
    server = await asyncio.start_server(fake.serve_stream, address, port)
    fake.port = server.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: fake, local_addr=(address, fake.port)
    )
    yield fake
    transport.close()
    server.close()
