"""A real nginx on loopback that serves what Ingress objects ask for, with real backends that echo requests."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from tests.ingress.authority import Authority
from tests.ingress.echoing import echo_server
from tests.ingress.ports import free_port

from binderops.ingress.backends import BackendTable
from binderops.ingress.configuration import Settings, render
from binderops.ingress.keystore import KeyStore
from binderops.ingress.proxy import Proxy
from binderops.ingress.routing import Complaint, Routing, build_routing, ours
from binderops.ingress.tls import Certificates
from binderops.kube.objects import key_of

Object = dict[str, Any]


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
        await self.proxy.apply(text)

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
