"""Logs, exec and attach against an endpoint that speaks as a kubelet does: HTTPS, client certificates, WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import http
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from binderops.node.api.kubelet import pieces
from binderops.node.pki import KUBELET_CLIENT

V5 = Subprotocol("v5.channel.k8s.io")


class Endpoint:
    """What it was asked, by whom."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.users: list[str] = []
        self.port = 0

    def process(self, connection: ServerConnection, request: Request) -> Response | None:
        self.paths.append(request.path)
        subject = connection.transport.get_extra_info("peercert")["subject"]
        self.users += [value for part in subject for key, value in part if key == "commonName"]
        path = urlsplit(request.path).path
        if path.startswith("/containerLogs/"):
            if path.endswith("/waiting"):
                return connection.respond(
                    http.HTTPStatus.BAD_REQUEST, "container is waiting to start: ContainerCreating"
                )
            if "limitBytes=-1" in request.path:
                return connection.respond(http.HTTPStatus.UNPROCESSABLE_ENTITY, "PodLogOptions is invalid: limitBytes")
            return connection.respond(http.HTTPStatus.OK, "first line\nsecond line\n")
        return None

    async def echo(self, connection: ServerConnection) -> None:
        async for message in connection:
            assert isinstance(message, bytes)
            if message == b"\x00bye":
                await connection.send(b'\x03{"status":"Success"}')
                return
            await connection.send(b"\x01" + message[1:])


@pytest.fixture
async def endpoint(api: Any, namespace: str) -> AsyncIterator[Endpoint]:
    pki = api.running.config.pki
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")  # good for 127.0.0.1
    context.load_verify_locations(pki / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    found = Endpoint()
    async with serve(
        found.echo,
        "127.0.0.1",
        0,
        ssl=context,
        process_request=found.process,
        subprotocols=[V5],
    ) as server:
        found.port = next(iter(server.sockets)).getsockname()[1]
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": found.port}},
        }
        await api.create("/api/v1/nodes", {"metadata": {"name": namespace}, "status": status})
        containers = [{"name": name, "image": "i:1"} for name in ("main", "waiting")]
        pods = f"/api/v1/namespaces/{namespace}/pods"
        await api.create(pods, {"metadata": {"name": "p"}, "spec": {"containers": containers, "nodeName": namespace}})
        yield found


async def test_logs_are_passed_through(api: Any, namespace: str, endpoint: Endpoint) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/p/log"
    answer = await api.session.get(f"{path}?container=main&tailLines=2&timestamps=true")
    assert (answer.status_code, answer.text) == (200, "first line\nsecond line\n")
    assert answer.headers["content-type"] == "text/plain"
    assert endpoint.paths == [f"/containerLogs/{namespace}/p/main?timestamps=true&tailLines=2"]
    assert endpoint.users == [KUBELET_CLIENT]


async def test_the_kubelets_refusal_and_ours(api: Any, namespace: str, endpoint: Endpoint) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/p/log"
    code, status = await api.ask("GET", f"{path}?container=waiting")
    assert (code, status["reason"]) == (400, "BadRequest")
    assert status["message"] == "container is waiting to start: ContainerCreating"
    code, status = await api.ask("GET", f"{path}?container=main&limitBytes=-1")
    assert (code, status["reason"], status["message"]) == (422, "Invalid", "PodLogOptions is invalid: limitBytes")
    code, status = await api.ask("GET", path)
    assert (code, status["message"]) == (
        400,
        "a container name must be specified for pod p, choose one of: [main waiting]",
    )
    code, status = await api.ask("GET", f"{path}?container=none")
    assert (code, "not valid for pod p" in status["message"]) == (400, True)


async def test_exec_joins_two_websockets(api: Any, namespace: str, endpoint: Endpoint) -> None:
    url = f"wss://127.0.0.1:{api.running.port}/api/v1/namespaces/{namespace}/pods/p/exec"
    async with (
        connect(
            f"{url}?container=main&command=cat&command=a%20b&stdin=true&stdout=true",
            ssl=api.running.tls("admin"),
            subprotocols=[V5],
            proxy=None,
        ) as client,
        asyncio.timeout(10),
    ):
        assert client.subprotocol == V5
        await client.send(b"\x00hello")
        assert await client.recv() == b"\x01hello"
        big = b"\x00" + b"x" * 300_000
        await client.send(big)
        assert await client.recv() == b"\x01" + big[1:]
        await client.send(b"\x00bye")
        assert await client.recv() == b'\x03{"status":"Success"}'
        with contextlib.suppress(Exception):
            await client.recv()
        assert client.close_code == 1000
    assert endpoint.paths == [f"/exec/{namespace}/p/main?command=cat&command=a+b&stdin=true&stdout=true"]
    assert endpoint.users == [KUBELET_CLIENT]


@pytest.mark.parametrize(
    ("name", "query", "protocol", "code"),
    [("q", "", V5, 404), ("p", "", V5, 400), ("p", "container=main", Subprotocol("channel.k8s.io"), 400)],
)
async def test_exec_that_cannot_be(
    api: Any, namespace: str, endpoint: Endpoint, name: str, query: str, protocol: Subprotocol, code: int
) -> None:
    url = f"wss://127.0.0.1:{api.running.port}/api/v1/namespaces/{namespace}/pods/{name}/exec?{query}"
    with pytest.raises(InvalidStatus) as caught:
        await connect(url, ssl=api.running.tls("admin"), subprotocols=[protocol], proxy=None)
    assert caught.value.response.status_code == code
    assert b'"kind":"Status"' in (caught.value.response.body or b"")


async def test_exec_wants_its_right(api: Any, namespace: str, endpoint: Endpoint) -> None:
    url = f"wss://127.0.0.1:{api.running.port}/api/v1/namespaces/{namespace}/pods/p/exec?container=main"
    with pytest.raises(InvalidStatus) as caught:
        await connect(url, ssl=api.running.tls(None), subprotocols=[V5], proxy=None)
    assert caught.value.response.status_code == 403


async def test_a_kubelet_that_is_away_is_said_so(api: Any, namespace: str, endpoint: Endpoint) -> None:
    merge = "application/merge-patch+json"
    status = {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}
    await api.ask("PATCH", f"/api/v1/nodes/{namespace}/status", {"status": status}, media=merge)
    code, refused = await api.ask("GET", f"/api/v1/namespaces/{namespace}/pods/p/log?container=main")
    assert (code, refused["reason"]) == (503, "ServiceUnavailable")
    assert "the kubelet endpoint 127.0.0.1:1 cannot be reached" in refused["message"]


async def test_a_kubelet_that_hangs_in_the_middle_of_a_log_does_not_hold_its_reader() -> None:
    ended = asyncio.Event()

    async def log() -> AsyncIterator[bytes]:
        try:
            yield b"first line\n"
            await asyncio.sleep(60)
            yield b"never"
        finally:
            ended.set()

    answer = httpx2.MockTransport(lambda request: httpx2.Response(200, content=log()))
    async with httpx2.AsyncClient(transport=answer) as client:
        response = await client.send(client.build_request("GET", "https://kubelet/log"), stream=True)
        async with asyncio.timeout(5):
            assert [piece async for piece in pieces(response, silence=0.2)] == [b"first line\n"]
            await ended.wait()
