"""Logs, exec and attach: by kubectl's own protocol through the API server, and straight at the kubelet's endpoint."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from tests.node.pods.conftest import Node
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from binderops.kube.client import Client
from binderops.kube.objects import is_pod_ready

pytestmark = [pytest.mark.podman, pytest.mark.root]

V5, V4 = Subprotocol("v5.channel.k8s.io"), Subprotocol("v4.channel.k8s.io")


def tls(node: Node, *, certificate: str = "apiserver-kubelet-client") -> ssl.SSLContext:
    pki = node.config.pki
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    if certificate:
        context.load_cert_chain(pki / f"{certificate}.crt", pki / f"{certificate}.key")
    return context


def endpoint(node: Node, scheme: str, path: str, **query: Any) -> str:
    words = urlencode(query, doseq=True)
    return f"{scheme}://{node.config.bridge_address}:{node.config.kubelet_port}{path}?{words}"


def session(node: Node, path: str, protocol: Subprotocol = V5, **query: Any) -> connect:
    return connect(endpoint(node, "wss", path, **query), ssl=tls(node), subprotocols=[protocol], proxy=None)


async def conversation(socket: ClientConnection) -> tuple[bytes, bytes, dict[str, Any]]:
    """Everything until the end: standard output, standard error, the Status."""
    pieces: dict[int, bytes] = {}
    async with asyncio.timeout(20):
        async for message in socket:
            assert isinstance(message, bytes)
            pieces[message[0]] = pieces.get(message[0], b"") + message[1:]
    return pieces.get(1, b""), pieces.get(2, b""), json.loads(pieces[3])


@pytest.fixture
async def echo(make: Any, wait_for: Any) -> AsyncIterator[str]:
    await make("echo", "echo one; echo two; echo three >&2; sleep 1000", container={"stdin": True})
    await wait_for("echo", is_pod_ready)
    yield "/default/echo/main"


async def test_nobody_without_a_certificate_gets_in(node: Node, echo: str) -> None:
    async with httpx.AsyncClient(verify=tls(node), trust_env=False) as known:
        assert (await known.get(endpoint(node, "https", "/healthz"))).text == "ok"
        assert (await known.get(endpoint(node, "https", "/pods"))).json()["kind"] == "PodList"
    async with httpx.AsyncClient(verify=tls(node, certificate=""), trust_env=False) as anonymous:
        # TLS 1.3: the alert comes after the handshake, and may be overtaken by the reset, which has no words.
        with pytest.raises((httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, httpx.ConnectError)):
            await anonymous.get(endpoint(node, "https", "/pods"))


async def test_the_api_alone_is_obeyed(node: Node, echo: str) -> None:
    """Another certificate of the same CA names a user whom the API would first ask RBAC about."""
    context = tls(node, certificate="admin")
    async with httpx.AsyncClient(verify=context, trust_env=False) as admin:
        assert (await admin.get(endpoint(node, "https", "/pods"))).status_code == 403
    with pytest.raises(InvalidStatus, match="403"):
        async with connect(endpoint(node, "wss", f"/exec{echo}", command="true"), ssl=context, proxy=None):
            pass


async def test_exec_carries_streams_and_the_exit_code(node: Node, echo: str) -> None:
    command = ["sh", "-c", "cat; echo bad >&2; exit 3"]
    async with session(node, f"/exec{echo}", command=command, stdin="true", stdout="true", stderr="true") as socket:
        assert socket.subprotocol == V5
        await socket.send(b"\0hello\n")
        await socket.send(b"\xff\0")  # v5: end of standard input
        output, errors, status = await conversation(socket)
    assert (output, errors) == (b"hello\n", b"bad\n")
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_exec_that_succeeds_and_one_that_cannot(node: Node, echo: str) -> None:
    async with session(node, f"/exec{echo}", V4, command="true", output="1", error="1") as socket:
        assert (await conversation(socket))[2]["status"] == "Success"
    async with session(node, f"/exec{echo}", command="/no/such", stdout="true", stderr="true") as socket:
        _, _, status = await conversation(socket)
    assert status["status"] == "Failure"


async def test_a_terminal_has_a_size(node: Node, echo: str) -> None:
    command = ["sh", "-c", "read x; stty size"]
    async with session(node, f"/exec{echo}", command=command, stdin="true", stdout="true", tty="true") as socket:
        await socket.send(b'\4{"Width": 99, "Height": 33}')
        await socket.send(b"\4not json")
        await asyncio.sleep(0)
        await socket.send(b"\0go\n")
        output, _, status = await conversation(socket)
    assert b"33 99" in output
    assert status["status"] == "Success"


async def test_exec_into_what_does_not_run(node: Node, echo: str) -> None:
    with pytest.raises(Exception, match="404"):
        async with session(node, "/exec/default/echo/none", command="true", stdout="true"):
            pass


async def test_attach(node: Node, make: Any, wait_for: Any) -> None:
    script = "while read line; do echo got $line; done"
    await make("attached", script, container={"stdin": True}, restartPolicy="Never")
    await wait_for("attached", is_pod_ready)
    path = "/attach/default/attached/main"
    async with session(node, path, stdin="true", stdout="true", stderr="true") as socket:
        await socket.send(b"\0word\n")
        received = b""
        async with asyncio.timeout(10):
            while b"got word" not in received:
                message = await socket.recv()
                assert isinstance(message, bytes)
                received += message[1:]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({}, "one\ntwo\nthree\n"),
        ({"tailLines": 2}, "two\nthree\n"),
        ({"tailLines": 0}, ""),
        ({"limitBytes": 5}, "one\nt"),
        ({"sinceSeconds": 3600}, "one\ntwo\nthree\n"),
        ({"sinceTime": "2100-01-01T00:00:00Z"}, ""),
    ],
)
async def test_log_options(node: Node, echo: str, query: dict[str, Any], text: str) -> None:
    async with httpx.AsyncClient(verify=tls(node), trust_env=False) as api:
        answer = await api.get(endpoint(node, "https", f"/containerLogs{echo}", **query))
    assert sorted(answer.text.splitlines()) == sorted(text.splitlines())


@pytest.mark.parametrize("query", [{"tailLines": "x"}, {"sinceTime": "yesterday"}])
async def test_bad_log_options_are_refused(node: Node, echo: str, query: dict[str, Any]) -> None:
    async with httpx.AsyncClient(verify=tls(node), trust_env=False) as api:
        answer = await api.get(endpoint(node, "https", f"/containerLogs{echo}", **query))
    assert answer.status_code == 400
    assert "invalid log options" in answer.text


async def test_logs_are_followed_to_the_end(client: Client, make: Any, wait_for: Any) -> None:
    await make("talks", "echo begin; sleep 0.5; echo end", restartPolicy="Never")
    await wait_for("talks", lambda pod: pod["status"].get("phase") != "Pending")
    async with asyncio.timeout(15):
        text = b"".join([piece async for piece in client.logs("talks", "default", follow=True)])
    assert text == b"begin\nend\n"


async def test_readiness_follows_its_probe(node: Node, make: Any, wait_for: Any) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    await make("moody", "touch /tmp/ready; sleep 1000", container={"readinessProbe": probe})
    await wait_for("moody", is_pod_ready)
    for command, ready in ((["busybox", "rm", "/tmp/ready"], False), (["touch", "/tmp/ready"], True)):
        async with session(node, "/exec/default/moody/main", command=command, stdout="true", stderr="true") as socket:
            output, errors, status = await conversation(socket)
            assert status["status"] == "Success", (output, errors)
        await wait_for("moody", lambda pod, ready=ready: is_pod_ready(pod) is ready, seconds=10)


@pytest.mark.parametrize("user", [0, 1000])
async def test_exec_and_its_probes_where_a_pod_has_a_user_namespace(
    node: Node, make: Any, wait_for: Any, user: int
) -> None:
    """Its network namespace belongs to the machine, which runc before 1.2 does not join by itself."""
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    name = f"shifted-{user}"
    security = {"runAsUser": user}
    script = "touch /tmp/ready; sleep 1000"
    await make(name, script, hostUsers=False, securityContext=security, container={"readinessProbe": probe})
    address = (await wait_for(name, is_pod_ready))["status"]["podIP"]
    look = "id -u; cat /proc/self/uid_map; hostname -i; readlink /proc/self/ns/net; readlink /proc/1/ns/net"
    command = ["sh", "-c", f"{look}; busybox ip link set lo down || exit 9"]
    async with session(node, f"/exec/default/{name}/main", command=command, stdout="true", stderr="true") as socket:
        output, _, status = await conversation(socket)
    uid, mapping, inside, joined, first = output.decode().splitlines()
    assert (uid, inside, joined) == (str(user), address, first)
    assert int(mapping.split()[1]) > 0, "its ids are the machine's"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "9"}], "it may change its network"
    async with asyncio.timeout(10):
        while list(node.socket.parent.glob("exec-*")):  # what runc was shown
            await asyncio.sleep(0.05)
