"""A real nginx on loopback that serves what Ingress objects ask for, with real backends that echo requests."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from tests.ingress.authority import Authority

from binderops.ingress.backends import BackendTable
from binderops.ingress.configuration import Settings, render
from binderops.ingress.keystore import KeyStore
from binderops.ingress.proxy import Proxy
from binderops.ingress.routing import Complaint, Routing, build_routing, ours
from binderops.ingress.tls import Certificates
from binderops.kube.objects import key_of

Object = dict[str, Any]


def free_port() -> int:
    """A port below the kernel's own range: what binds to port 0 before nginx starts does not take it."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("0.0.0.0", random.randrange(12_000, 32_000)))
            return int(probe.getsockname()[1])


def ingress(name: str, *rules: Object, created: str = "2026-01-01T00:00:00Z", **more: Any) -> Object:
    """An Ingress with `rules`; `annotations` and other spec fields by keyword."""
    metadata = {"name": name, "namespace": "test", "uid": name, "creationTimestamp": created}
    metadata["annotations"] = more.pop("annotations", {})
    return {"metadata": metadata, "spec": {"rules": list(rules), **more}}


def rule(host: str | None, *paths: tuple[str, str, str]) -> Object:
    """A rule of (path, pathType, service) tuples; every service has port 80."""
    listed = [
        {"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"number": 80}}}}
        for path, kind, service in paths
    ]
    return {**({"host": host} if host is not None else {}), "http": {"paths": listed}}


def service(name: str, *endpoints: int) -> tuple[Object, Object]:
    """A Service with its EndpointSlice: ready endpoints on loopback at the given ports."""
    spec = {"ports": [{"name": "web", "port": 80}]}
    slices = {
        "metadata": {"name": name, "namespace": "test", "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "web", "port": port} for port in endpoints[:1]],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}] if endpoints else [],
    }
    return {"metadata": {"name": name, "namespace": "test"}, "spec": spec}, slices


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
async def echo_server(name: str) -> AsyncIterator[Echo]:
    echo = Echo(name)
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    try:
        yield echo
    finally:
        server.close()


class Front:
    """One nginx under test."""

    def __init__(self, folder: Path) -> None:
        self.port, self.tls_port = free_port(), free_port()
        self.settings = Settings(
            folder,
            http_port=self.port,
            https_port=self.tls_port,
            public_tls_port=self.tls_port,
            health_port=free_port(),
            metrics_port=free_port(),
        )
        self.store = KeyStore(folder / "certificates")
        self.certificates = Certificates(self.store)
        self.proxy = Proxy(folder, health_port=self.settings.health_port)
        self.routing: Routing | None = None

    async def serve(self, ingresses: list[Object], services: list[tuple[Object, Object]], **more: Any) -> Routing:
        """Puts a picture into force and waits until nginx answers with it."""
        table = BackendTable([entry[0] for entry in services], [entry[1] for entry in services])
        routing = build_routing(ingresses, table, class_name="nginx", **more)
        await self.apply(render(routing, self.settings))
        return routing

    async def serve_tls(
        self, ingresses: list[Object], services: list[tuple[Object, Object]], secrets: list[Object], **more: Any
    ) -> list[Complaint]:
        """The same with the TLS port; `settings` and `default` (a Secret's key) by keyword."""
        table = BackendTable([entry[0] for entry in services], [entry[1] for entry in services])
        routing = build_routing(ingresses, table, class_name="nginx")
        known = {key_of(secret): secret for secret in secrets}
        served = ours(ingresses, class_name="nginx")
        tls, complaints = self.certificates.choose(served, known, default=more.get("default"))
        await self.apply(render(routing, more.get("settings", self.settings), tls))
        self.store.keep(tls.files)
        return complaints

    def https(self, authority: Authority, host: str, *, http2: bool = False) -> httpx2.AsyncClient:
        """A client of the TLS port that trusts the tests' authority and asks for `host` by SNI."""
        return httpx2.AsyncClient(
            trust_env=False,
            verify=authority.trust(),
            http2=http2,
            base_url=f"https://127.0.0.1:{self.tls_port}",
            headers={"host": f"{host}:{self.tls_port}"},
        )

    async def apply(self, text: str) -> None:
        before = await self._workers()
        changed = await self.proxy.apply(text)
        async with asyncio.timeout(20):
            while not await self._healthy() or (changed and before & await self._workers()):
                await asyncio.sleep(0.02)

    async def get(self, host: str, target: str = "/", **more: Any) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            request = client.build_request("GET", f"http://127.0.0.1:{self.port}", **more)
            request.headers["host"] = host
            request.url = request.url.copy_with(raw_path=target.encode())
            return await client.send(request)

    async def served_by(self, host: str, target: str = "/") -> str | int:
        """The backend's name, or the status where it is no 200."""
        answer = await self.get(host, target)
        return str(answer.json()["name"]) if answer.status_code == 200 else answer.status_code

    async def _healthy(self) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.get(f"http://127.0.0.1:{self.settings.health_port}/healthz")
                return answer.status_code == 200
        except httpx.TransportError:
            return False

    async def _workers(self) -> set[str]:
        """Worker processes that take new connections: an old one says in its title that it is shutting down."""
        process = self.proxy._process
        if process is None:
            return set()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        titles = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in children if Path(f"/proc/{pid}").exists()}
        return {pid for pid, title in titles.items() if "shutting down" not in title}


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The tests' certificate authority."""
    return Authority()


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    if shutil.which("nginx") is None:
        pytest.fail("nginx is missing: scripts/system-packages --tests installs it")
    front = Front(tmp_path)
    yield front
    process = front.proxy._process
    if process is not None and process.returncode is None:
        process.terminate()
        await process.wait()


@pytest.fixture
def make() -> Iterator[Callable[..., Any]]:
    """Builders of objects, by name."""
    builders: dict[str, Callable[..., Any]] = {
        "ingress": ingress,
        "rule": rule,
        "service": service,
        "echo": echo_server,
    }
    yield lambda name: builders[name]
