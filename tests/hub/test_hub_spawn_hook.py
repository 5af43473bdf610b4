"""The start hook against a real HTTP server and the states that a pod goes through."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from kubespawner import KubeSpawner
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from binderops.errors import SpawnError
from binderops.hub.spawn_hook import LONGEST_ANSWER, wait_until_served

NAME = "jupyter-a"


def pod(phase: str = "Running", *, ready: bool = True, **extra: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": NAME, "namespace": "binder", **extra.pop("metadata", {})},
        "status": {
            "phase": phase,
            "podIP": "127.0.0.1",
            "containerStatuses": [{"name": "notebook", "ready": ready, "state": {}}],
            **extra,
        },
    }


class Spawner(SimpleNamespace):
    """What the hook sees of a KubeSpawner; whether a pod runs is KubeSpawner's own word."""

    def is_pod_running(self, found: Any) -> bool:
        return bool(KubeSpawner.is_pod_running(self, found))


class Server:
    """A server that answers /user/a/api with each of `codes` in turn, then with the last."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.paths: list[str] = []
        self.body = b""
        outer = self

        class Api(RequestHandler):
            def get(self) -> None:
                outer.paths.append(self.request.path)
                self.set_status(outer.codes.pop(0) if len(outer.codes) > 1 else outer.codes[0])
                self.write(outer.body)

        (socket,) = bind_sockets(0, "127.0.0.1")
        self.port = socket.getsockname()[1]
        self._server = HTTPServer(Application([(".*", Api)]))
        self._socket = socket

    def listen(self) -> None:
        self._server.add_socket(self._socket)

    def close(self) -> None:
        self._server.stop()


def spawner(port: int, *, start_timeout: float = 10) -> Spawner:
    return Spawner(
        namespace="binder",
        pod_name=NAME,
        port=port,
        start_timeout=start_timeout,
        internal_ssl=False,
        server=SimpleNamespace(base_url="/user/a/"),
        pod_reflector=SimpleNamespace(pods={}),
    )


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server(200)
    yield server
    server.close()


async def launched(found: Spawner, *states: Any) -> None:
    """The hook, while the reflector sees these states one after the other."""
    found.pod_reflector.pods[f"binder/{NAME}"] = states[0]
    waiting = asyncio.create_task(wait_until_served(found, pod()))
    for state in states[1:]:
        await asyncio.sleep(0.05)
        if state is None:
            found.pod_reflector.pods.clear()
        else:
            found.pod_reflector.pods[f"binder/{NAME}"] = state
    await waiting


async def test_it_returns_when_the_server_answers(server: Server) -> None:
    server.listen()
    await launched(spawner(server.port), pod("Pending", ready=False), pod(ready=False), pod())
    assert server.paths == ["/user/a/api"]


@pytest.mark.parametrize("codes", [(503, 500, 200), (599, 404), (502, 403)])
async def test_only_below_500_is_an_answer(codes: tuple[int, ...]) -> None:
    server = Server(*codes)
    server.listen()
    try:
        await launched(spawner(server.port), pod())
    finally:
        server.close()
    assert len(server.paths) == len(codes)


@pytest.mark.parametrize(("length", "is_taken"), [(LONGEST_ANSWER, True), (LONGEST_ANSWER + 1, False)])
async def test_a_long_answer_is_none(server: Server, length: int, is_taken: bool) -> None:
    """The image is its user's: what it answers does not fill the hub's memory."""
    server.body = b"x" * length
    server.listen()
    expected = contextlib.nullcontext() if is_taken else pytest.raises(SpawnError, match="did not start in time")
    with expected:
        await launched(spawner(server.port, start_timeout=1), pod())


async def test_it_sees_the_answer_within_milliseconds(server: Server) -> None:
    """The reason for the hook: JupyterHub's own waits would take 0.7 s on average."""
    waiting = asyncio.create_task(launched(spawner(server.port), pod()))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    server.listen()
    began = time.monotonic()
    await waiting
    assert time.monotonic() - began < 0.5


KILLED = {"name": "notebook", "ready": False, "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
ENDINGS: dict[str, tuple[list[Any], str]] = {
    "gone": ([pod("Pending", ready=False), None], "its pod was deleted"),
    "deleted": (
        [pod("Pending", ready=False), pod(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})],
        "its pod was deleted",
    ),
    "ended": ([pod(ready=False), pod("Succeeded", ready=False)], "its phase is Succeeded"),
    "evicted": (
        [pod(), pod("Failed", ready=False, reason="Evicted", message="the disk is full")],
        "Evicted; the disk is full",
    ),
    "killed": ([pod(), pod("Failed", containerStatuses=[KILLED])], "container notebook: OOMKilled, exit code 137"),
}


@pytest.mark.parametrize(("states", "why"), ENDINGS.values(), ids=ENDINGS)
async def test_it_ends_when_the_pod_does(server: Server, states: list[Any], why: str) -> None:
    """Nobody listens on the server's port."""
    server.close()
    began = time.monotonic()
    with pytest.raises(SpawnError) as failure:
        await launched(spawner(free_of(server), start_timeout=30), *states)
    assert time.monotonic() - began < 5
    assert failure.value.why == why
    assert why in failure.value.jupyterhub_message


def free_of(server: Server) -> int:
    server._socket.close()
    return int(server.port)


async def test_it_gives_up_at_start_timeout(server: Server) -> None:
    server.close()
    with pytest.raises(SpawnError, match=r"did not answer within 0\.2 seconds \(singleuser\.startTimeout\)"):
        await launched(spawner(free_of(server), start_timeout=0.2), pod())


async def test_with_internal_ssl_it_asks_nobody(server: Server) -> None:
    found = spawner(server.port)
    found.internal_ssl = True
    await launched(found, pod())
    assert server.paths == []
