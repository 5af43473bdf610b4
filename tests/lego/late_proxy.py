"""A proxy before the solver that is as late as a proxy may be: what it still believes is what a test tells it.

Its rules are the ingress controller's own; only when it learns of a change is in the test's hand.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from binderops.ingress.backends import BackendTable
from binderops.ingress.routing import build_routing
from binderops.kube.client import Client
from binderops.kube.kinds import ENDPOINT_SLICE, INGRESS, SERVICE, Object

SECONDS = 10.0
CHALLENGES = "/.well-known/acme-challenge/"


@dataclass(frozen=True)
class Picture:
    """What a proxy knows at a moment."""

    ingresses: list[Object]
    services: list[Object]
    slices: list[Object]

    def with_ingresses_of(self, other: Picture) -> Picture:
        """This picture, but with another one's Ingresses."""
        return dataclasses.replace(self, ingresses=other.ingresses)

    def find(self, host: str, path: str) -> tuple[str, int] | None:
        """The endpoint that serves a path: Exact first, then the longest Prefix."""
        table = BackendTable(self.services, self.slices)
        served = build_routing(self.ingresses, table, class_name="nginx").hosts.get(host)
        fitting = [
            each
            for each in (served.locations.values() if served else ())
            if each.path == path or (not each.exact and path.startswith(each.path.rstrip("/") + "/"))
        ]
        if not fitting:
            return None
        endpoints = max(fitting, key=lambda each: (each.exact, len(each.path))).backend.endpoints
        return endpoints[0] if endpoints else None


class LateProxy:
    """`behind` are the pictures, oldest first, that it has still before it sees what is.

    It goes on to the next one as late as anybody can notice: when the controller's own check was refused, or when the
    CA comes.
    """

    def __init__(self, client: Client, namespace: str, port: int) -> None:
        self.client, self.namespace, self.port = client, namespace, port
        self.behind: list[Callable[[Picture], Picture]] = []
        self.led = Picture([], [], [])  # the latest that led a request to the solver

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", self.port)
        async with server:
            yield

    async def now(self) -> Picture:
        return Picture(
            *[(await self.client.list(kind, self.namespace)).items for kind in (INGRESS, SERVICE, ENDPOINT_SLICE)]
        )

    async def late_with_everything(self) -> None:
        """From now on: first the last path that led to the solver still stands, then none does."""
        before, gone = self.led, await self.now()
        self.behind = [lambda _: before, lambda _: gone]

    async def late_with_services(self) -> None:
        """From now on Ingresses are seen as they are, Services first as they were, then as they are without a path."""
        before, gone = self.led, await self.now()
        self.behind = [before.with_ingresses_of, gone.with_ingresses_of]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ")[1].decode()
                host = next(line for line in head.decode().splitlines() if line.lower().startswith("host:"))
                writer.write(await self._forward(host.split(":")[1].strip(), path, head))
                await writer.drain()
        finally:
            writer.close()

    async def _forward(self, host: str, path: str, head: bytes) -> bytes:
        of_the_ca = path.startswith(CHALLENGES) and "selftest" not in path
        if of_the_ca:
            del self.behind[:-1]
        now = await self.now()
        picture = self.behind[0](now) if self.behind else now
        found = picture.find(host, path)
        if found is None:
            if self.behind and not of_the_ca:
                del self.behind[0]
            return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self.led = picture
        reader, writer = await asyncio.open_connection(*found)
        try:
            writer.write(head)
            return await reader.read()
        finally:
            writer.close()
