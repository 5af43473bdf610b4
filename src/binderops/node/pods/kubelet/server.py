"""The kubelet's HTTPS server: it obeys the API alone, by the client certificate that the node's CA gave it.

Others that the CA has certified (an operator, the node's own programs) go through the API, which asks what they may do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from binderops.errors import EngineError
from binderops.kube.objects import name_of, namespace_of, parse_timestamp, uid_of
from binderops.node.config import NodeConfig
from binderops.node.pki import KUBELET_CLIENT
from binderops.node.pods.kit import Kit
from binderops.node.pods.kubelet import streaming
from binderops.node.pods.logs import LogOptions, read_log
from binderops.node.pods.manager import Manager
from binderops.node.pods.status import View
from binderops.podman import RawStream

log = structlog.get_logger(__name__)

BIND_RETRY_SECONDS = 0.2
EXIT_CODE_PAUSES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class RefusedError(Exception):
    """A request that cannot be served: an HTTP status and what to say."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Endpoint:
    """The handlers."""

    def __init__(self, kit: Kit, manager: Manager) -> None:
        self._kit = kit
        self._manager = manager

    def application(self) -> Starlette:
        """The routes, as a kubelet has them."""
        return Starlette(
            routes=[
                Route("/healthz", self.health),
                Route("/pods", self.pods),
                Route("/stats/summary", self.stats),
                Route("/containerLogs/{namespace}/{pod}/{container}", self.logs),
                WebSocketRoute("/exec/{namespace}/{pod}/{container}", self.execute),
                WebSocketRoute("/attach/{namespace}/{pod}/{container}", self.attach),
            ]
        )

    async def health(self, request: Request) -> Response:
        """`ok`, if the engine answers."""
        try:
            await self._kit.podman.ping()
        except EngineError as error:
            return PlainTextResponse(str(error), 500)
        return PlainTextResponse("ok")

    async def pods(self, request: Request) -> Response:
        """A PodList of what runs here."""
        return JSONResponse({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": self._manager.pods()})

    async def stats(self, request: Request) -> Response:
        """Which pods there are, by the summary API's shape (no figures: nothing here reads them)."""
        pods = [
            {"podRef": {"name": name_of(pod), "namespace": namespace_of(pod), "uid": uid_of(pod)}, "containers": []}
            for pod in self._manager.pods()
        ]
        return JSONResponse({"node": {"nodeName": self._kit.config.name}, "pods": pods})

    async def logs(self, request: Request) -> Response:
        """A container's log; with `follow`, until it ends."""
        try:
            view = self._view(request.path_params)
            options = log_options(request.query_params)
            record = view.record
            if request.query_params.get("previous") == "true":
                record = view.previous
                if record is None:
                    raise RefusedError(400, f'previous terminated container "{view.name}" not found')
            if record is None:
                reason, message = view.waiting
                text = f'container "{view.name}" is waiting to start: {reason}'
                raise RefusedError(400, f"{text}: {message}" if message else text)
        except RefusedError as refused:
            return PlainTextResponse(str(refused), refused.code)
        identity = record.id
        pod = request.path_params

        def running() -> bool:
            try:
                current = self._view(pod).record
            except RefusedError:
                return False
            return current is not None and current.id == identity and current.state == "running"

        path = self._kit.log_folder(self._pod(pod)) / view.name / f"{record.attempt}.log"
        return StreamingResponse(read_log(path, options, running), media_type="text/plain; charset=utf-8")

    async def execute(self, websocket: WebSocket) -> None:
        """Run a command inside a container."""
        try:
            identity = self._running(websocket.path_params)
        except RefusedError as refused:
            await _deny(websocket, refused)
            return
        query = websocket.query_params
        command, terminal = query.getlist("command"), _flag(query, "tty")
        stdin = _flag(query, "stdin", "input")
        if not await streaming.accept(websocket):
            return
        containers = self._kit.podman.containers
        try:
            session = await containers.exec_create(identity, command, stdin=stdin, terminal=terminal)
            stream = await containers.exec_start(session, terminal=terminal)
        except EngineError as error:
            await _end_with(websocket, streaming.failure(error.why or str(error)))
            return

        async def resize(width: int, height: int) -> None:
            await containers.exec_resize(session, width=width, height=height)

        async def finish() -> dict[str, Any]:
            for pause in EXIT_CODE_PAUSES:
                await asyncio.sleep(pause)
                try:
                    code = await containers.exec_exit_code(session)
                except EngineError as error:
                    return streaming.failure(error.why or str(error))
                if code is not None:
                    return streaming.success() if code == 0 else streaming.nonzero(code)
            return streaming.failure("the engine does not tell how the command ended")

        await self._carry(websocket, stream, query, terminal=terminal, resize=resize, finish=finish)

    async def attach(self, websocket: WebSocket) -> None:
        """Connect to a container's own streams."""
        try:
            identity = self._running(websocket.path_params)
            view = self._view(websocket.path_params)
        except RefusedError as refused:
            await _deny(websocket, refused)
            return
        terminal = bool(view.spec.get("tty"))
        if not await streaming.accept(websocket):
            return
        containers = self._kit.podman.containers
        try:
            stdin = _flag(websocket.query_params, "stdin", "input") and bool(view.spec.get("stdin"))
            stream = await containers.attach(identity, stdin=stdin, terminal=terminal)
        except EngineError as error:
            await _end_with(websocket, streaming.failure(error.why or str(error)))
            return

        async def resize(width: int, height: int) -> None:
            await containers.resize(identity, width=width, height=height)

        async def finish() -> dict[str, Any]:
            return streaming.success()

        await self._carry(websocket, stream, websocket.query_params, terminal=terminal, resize=resize, finish=finish)

    async def _carry(
        self, websocket: WebSocket, stream: RawStream, query: Any, *, terminal: bool, resize: Any, finish: Any
    ) -> None:
        wanted = {streaming.STDOUT} if _flag(query, "stdout", "output") or terminal else set()
        if _flag(query, "stderr", "error") and not terminal:
            wanted.add(streaming.STDERR)
        await streaming.bridge(websocket, stream, wanted=frozenset(wanted), resize=resize, finish=finish)

    def _pod(self, path: dict[str, Any]) -> dict[str, Any]:
        worker = self._manager.worker(str(path["namespace"]), str(path["pod"]))
        if worker is None:
            raise RefusedError(404, f"pod {path['namespace']}/{path['pod']} does not run here")
        return worker.pod

    def _view(self, path: dict[str, Any]) -> View:
        worker = self._manager.worker(str(path["namespace"]), str(path["pod"]))
        unit = worker.units.get(str(path["container"])) if worker is not None else None
        if unit is None:
            raise RefusedError(404, f"container {path['container']} not found in pod {path['namespace']}/{path['pod']}")
        return unit.view

    def _running(self, path: dict[str, Any]) -> str:
        view = self._view(path)
        if view.record is None or not view.running:
            raise RefusedError(400, f'container "{view.name}" is not running')
        return view.record.id


async def serve(config: NodeConfig, kit: Kit, manager: Manager) -> None:
    """Serve until cancelled; waits for the bridge's address, which the network room makes."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(config.pki / "ca.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(config.pki / "kubelet.crt", config.pki / "kubelet.key")
    settings = uvicorn.Config(
        _OnlyTheApi(Endpoint(kit, manager).application()),
        http=_Protocol,
        log_config=None,  # uvicorn's own would undo the node's: every request that a stop cuts off would be a traceback
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        ws="websockets-sansio",
    )
    settings.load()
    settings.ssl = context
    server = _Server(settings)
    listener = await _listener(config)
    try:
        await server.serve(sockets=[listener])
    finally:
        listener.close()


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol that tells the application the name in the client's certificate."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        subject = (transport.get_extra_info("peercert") or {}).get("subject", ())
        names = [value for part in subject for key, value in part if key == "commonName"]
        self.app_state = {**self.app_state, "client": names[0] if names else ""}


class _OnlyTheApi:
    """Answers 403 to everybody but the API's own client."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope["state"]["client"]
        if client == KUBELET_CLIENT:
            try:
                await self._application(scope, receive, send)
            except Exception:
                log.exception("a request of the kubelet's endpoint failed", path=scope["path"])
                raise
            return
        refusal = PlainTextResponse(f"{client} is not obeyed here, only {KUBELET_CLIENT}: ask the API", 403)
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            await refusal(scope, receive, send)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: they are the node's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _listener(config: NodeConfig) -> Any:
    while True:
        try:
            return socket.create_server((config.bridge_address, config.kubelet_port), backlog=128)
        except OSError as error:
            log.debug("the kubelet's address is not there yet", error=str(error))
            await asyncio.sleep(BIND_RETRY_SECONDS)


def log_options(query: Any) -> LogOptions:
    """The options of PodLogOptions; RefusedError for what cannot be read (400) or means nothing (422)."""
    try:
        since = None
        seconds = int(query["sinceSeconds"]) if query.get("sinceSeconds") else None
        if query.get("sinceTime"):
            since = parse_timestamp(query["sinceTime"].replace("Z", "+00:00"))
        elif seconds is not None:
            since = datetime.now(UTC) - timedelta(seconds=seconds)
        tail = int(query["tailLines"]) if query.get("tailLines") else None
        limit = int(query["limitBytes"]) if query.get("limitBytes") else None
    except (ValueError, OverflowError) as error:
        raise RefusedError(400, f"invalid log options: {error}") from error
    for name, value, least in (("tailLines", tail, 0), ("limitBytes", limit, 1), ("sinceSeconds", seconds, 1)):
        if value is not None and value < least:
            bound = "greater than 0" if least else "greater than or equal to 0"
            raise RefusedError(422, f"PodLogOptions is invalid: {name}: Invalid value: {value}: must be {bound}")
    if seconds is not None and query.get("sinceTime"):
        message = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        raise RefusedError(422, f"PodLogOptions is invalid: {message}")
    return LogOptions(_flag(query, "follow"), tail, since, _flag(query, "timestamps"), limit)


def _flag(query: Any, *names: str) -> bool:
    return any(query.get(name) in ("true", "1") for name in names)


async def _deny(websocket: WebSocket, refused: RefusedError) -> None:
    response = PlainTextResponse(str(refused), refused.code)
    await websocket.send_denial_response(response)


async def _end_with(websocket: WebSocket, status: dict[str, Any]) -> None:
    await websocket.send_bytes(bytes([streaming.ERROR]) + json.dumps(status).encode())
    await websocket.close(1000)
