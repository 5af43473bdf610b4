"""A server that speaks just enough of the Kubernetes API, to put the client into the hard cases."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from binderops.kube.client import Client


class Script:
    """What the server answers: one pod list, scripted watches in turn, and any other answer by (method, path)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes, str]] = []
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self.lists: list[dict[str, Any]] = []
        self.watches: asyncio.Queue[list[Any]] = asyncio.Queue()
        self.silent = asyncio.Event()

    async def answer(self, request: Request) -> Response:
        params = dict(request.query_params)
        body = await request.body()
        self.requests.append((request.method, request.url.path, params, body, request.headers.get("content-type", "")))
        if request.url.path == "/silent":
            await self.silent.wait()
            return Response()
        scripted = self.answers.get((request.method, request.url.path))
        if scripted is not None:
            code, content = scripted
            return Response(content if isinstance(content, bytes) else json.dumps(content), code)
        if request.method == "GET" and params.get("watch"):
            events = await self.watches.get()
            return StreamingResponse(self._stream(events))
        if request.method == "GET" and self.lists:
            return Response(json.dumps(self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]))
        return Response(json.dumps(status(404, "NotFound")), 404)

    async def _stream(self, events: list[Any]) -> AsyncIterator[bytes]:
        for event in events:
            if event is None:
                await self.silent.wait()
            else:
                yield event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n"


def status(code: int, reason: str, **more: Any) -> dict[str, Any]:
    return {"kind": "Status", "code": code, "reason": reason, "message": f"it is {reason}", **more}


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    yield Script()


@pytest.fixture
async def client(script: Script) -> AsyncIterator[Client]:
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    app = Starlette(routes=[Route("/{path:path}", script.answer, methods=methods)])
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve([listening]))
    kubeconfig = {
        "current-context": "test",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{listening.getsockname()[1]}"}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
    }
    async with Client.from_kubeconfig(kubeconfig, field_manager="tests") as made:
        yield made
    script.silent.set()
    server.should_exit = server.force_exit = True
    await serving


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)

    return wait
