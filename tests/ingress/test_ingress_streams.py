"""Nothing that is open is dropped: a websocket and an event stream through twenty reloads and a new certificate."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import replace
from typing import Any

import pytest
from tests.ingress.authority import Authority, secret, served_names

from binderops.errors import ProxyConfigurationError

RELOADS = 20


class Connection:
    """One TLS connection to a host, opened before the reloads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, host: str, authority: Authority, head: str) -> Connection:
        tls: ssl.SSLContext = authority.trust()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=host)
        writer.write(f"GET {head} HTTP/1.1\r\nHost: {host}\r\n".encode())
        return cls(reader, writer)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


async def test_websocket_and_event_stream_through_twenty_reloads_and_a_new_certificate(
    front: Any, make: Any, authority: Authority
) -> None:
    async with make("echo")("a") as echo, contextlib.AsyncExitStack() as stack:

        async def serve(number: int) -> Any:
            hosts = ["a.test", *(f"h{count}.test" for count in range(number))]
            rules = [make("rule")(host, ("/", "Prefix", "a")) for host in hosts]
            ingress = make("ingress")("one", *rules, tls=[{"hosts": ["a.test"], "secretName": "s"}])
            pair = pairs[number > RELOADS // 2]
            return await front.serve_tls(
                [ingress], [make("service")("a", echo.port)], [secret("s", pair, version=1 + (number > RELOADS // 2))]
            )

        pairs = authority.issue("a.test"), authority.issue("a.test", "renewed.test")
        await serve(0)
        socket = await Connection.open(front.tls_port, "a.test", authority, "/socket")
        stream = await Connection.open(front.tls_port, "a.test", authority, "/stream")
        for connection in (socket, stream):
            stack.callback(connection.writer.close)
        await socket.send(b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        await stream.send(b"\r\n")
        assert b" 101 " in await socket.reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in await stream.reader.readuntil(b"\r\n\r\n")
        for number in range(1, RELOADS + 1):
            await serve(number)
            if number == RELOADS // 2:
                with pytest.raises(ProxyConfigurationError, match="last good one stays"):
                    await front.apply("http { nonsense; }")
            message = b"message %02d" % number
            await socket.send(message)
            assert await asyncio.wait_for(socket.reader.readexactly(len(message)), 5) == message
        assert front.proxy.reloads == RELOADS
        assert await asyncio.to_thread(served_names, front.tls_port, "a.test") == ["a.test", "renewed.test"]
        assert await _events(stream, 50) == list(range(50))


async def test_requests_at_every_moment_of_twenty_reloads_are_answered(
    front: Any, make: Any, authority: Authority
) -> None:
    async with make("echo")("a") as echo:
        answers: list[int] = []
        stop = asyncio.Event()

        async def ask() -> None:
            async with front.https(authority, "a.test") as client:
                while not stop.is_set():
                    close = {"connection": "close"}
                    answer = await client.get("/", headers=close, extensions={"sni_hostname": "a.test"})
                    answers.append(answer.status_code)

        async def serve(number: int) -> None:
            rules = [make("rule")(host, ("/", "Prefix", "a")) for host in ("a.test", f"h{number}.test")]
            ingress = make("ingress")("one", *rules, tls=[{"hosts": ["a.test"], "secretName": "s"}])
            found = secret("s", authority.issue("a.test"), version=number + 1)
            await front.serve_tls([ingress], [make("service")("a", echo.port)], [found])

        await serve(0)
        asking = asyncio.create_task(ask())
        for number in range(1, RELOADS + 1):
            await serve(number)
        stop.set()
        await asyncio.wait_for(asking, 10)
    assert len(answers) > RELOADS
    assert set(answers) == {200}


async def test_one_address_that_holds_all_it_may_keeps_no_other_out(front: Any, make: Any) -> None:
    front.settings = replace(front.settings, requests_of_one=20)
    request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: %s\r\nUpgrade: websocket\r\n\r\n"

    async def ask(address: str, connection: bytes) -> tuple[bytes, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port, local_addr=(address, 0))
        writer.write(
            request % connection if connection == b"upgrade" else request.replace(b"Upgrade", b"X") % connection
        )
        return (await asyncio.wait_for(reader.readline(), 10)).split()[1], writer

    async with make("echo")("a") as echo:
        rule = make("rule")("a.test", ("/", "Prefix", "a"))
        await front.serve([make("ingress")("one", rule)], [make("service")("a", echo.port)])
        held = [await ask("127.0.0.2", b"upgrade") for _ in range(20)]
        assert {status for status, _ in held} == {b"101"}
        for connection in (b"upgrade", b"close"):
            status, writer = await ask("127.0.0.2", connection)
            assert status == b"503"
            writer.close()
        status, writer = await ask("127.0.0.3", b"close")
        assert status == b"200"
        for _, each in [(status, writer), *held]:
            each.close()


async def test_alike_secrets_and_routes_are_no_reload(front: Any, make: Any, authority: Authority) -> None:
    async with make("echo")("a") as echo:
        pair = authority.issue("a.test")
        for version in range(5):
            rule = make("rule")("a.test", ("/", "Prefix", "a"))
            ingress = make("ingress")("one", rule, tls=[{"hosts": ["a.test"], "secretName": "s"}])
            services, secrets = [make("service")("a", echo.port)], [secret("s", pair, version=version)]
            await front.serve_tls([ingress], services, secrets)
    assert front.proxy.reloads == 0


async def _events(stream: Connection, count: int) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            line = await stream.reader.readline()
            if line.startswith(b"data: "):
                found.append(int(line.removeprefix(b"data: ")))
    return found
