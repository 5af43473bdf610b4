"""The API's room: TLS, sockets, and what runs beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from binderops.errors import MachineError, StoreFailedError
from binderops.kube.objects import parse_timestamp
from binderops.node.api.app import Application
from binderops.node.api.authorization import Authorizer
from binderops.node.api.bootstrap import bootstrap, keep_aggregated
from binderops.node.api.context import Api
from binderops.node.api.discovery import Discovery
from binderops.node.api.kubelet import Kubelet
from binderops.node.api.selection import fields_of
from binderops.node.api.tokens import TokenAuthority
from binderops.node.config import NodeConfig
from binderops.node.pki import NODE_GROUP
from binderops.node.store import StaleRecordError, Store

_log = structlog.get_logger("api")
_IP_FREEBIND = 15  # linux/in.h; the socket module has no name for it
_KEEP_ALIVE = 120  # seconds an idle connection stays
_FIRST_REQUEST = 30.0  # seconds for a new connection to ask something
_LARGEST_HEADERS = 128 * 1024  # bytes
_STOP = 2  # seconds for answers under way when the node stops
_EVENT_LIFE = timedelta(hours=1)
_SWEEP_EVERY = 120.0  # seconds


async def run(config: NodeConfig, started: asyncio.Event) -> None:
    """Serve the API until cancelled; `started` is set when /readyz answers ok. The PKI must exist.

    Raises MachineError when the port is taken, StoreFailedError when the store cannot be opened.
    """
    sockets = list(_listen(config))
    store = Store(config.store, fields_of=fields_of)
    tokens = TokenAuthority(config.pki / "sa.key", cluster_domain=config.cluster_domain)
    api = Api(config, store, Authorizer(store), tokens)
    kubelet = Kubelet(config)
    app = Application(api, Discovery(f"{config.api_address}:{config.api_port}"), kubelet)
    server = _Server(_settings(app, config))
    try:
        await bootstrap(store, config)
        app.ready = True
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_aggregated(store))
            group.create_task(_expire_events(store))
            group.create_task(server.serve(sockets=sockets))
            group.create_task(_announce(server, started))
    except asyncio.CancelledError:
        await _stop(server)
        raise
    finally:
        for accepting in getattr(server, "servers", ()):
            accepting.close()
        for listener in sockets:
            listener.close()
        await kubelet.close()
        await store.close()


class _Server(uvicorn.Server):
    """uvicorn's server, without its signal handlers: the node's process has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol that tells the application who the TLS peer is, and gives nobody endless headers."""

    _in_headers = False
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = transport.get_extra_info("peercert")
        own = any(("organizationName", NODE_GROUP) in part for part in (peer or {}).get("subject", ()))
        self.app_state = {**self.app_state, "peer": peer or None, "transport": transport, "own": own}
        self.timeout_keep_alive_task = self.loop.call_later(_FIRST_REQUEST, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        was_in_headers = self._in_headers
        super().data_received(data)
        # Data that only ends in headers may have begun with a large body: it is not counted against them.
        if was_in_headers and self._in_headers and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > _LARGEST_HEADERS:
                self.transport.abort()

    def on_message_begin(self) -> None:
        self._in_headers, self._header_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        super().on_headers_complete()


def _settings(app: Application, config: NodeConfig) -> uvicorn.Config:
    settings = uvicorn.Config(
        app,
        http=_Protocol,
        ws="websockets-sansio",
        loop="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_STOP,
        backlog=1024,
    )
    settings.load()
    settings.ssl = _tls(config)
    return settings


def _tls(config: NodeConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(config.pki / "apiserver.crt", config.pki / "apiserver.key")
    context.load_verify_locations(config.pki / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _listen(config: NodeConfig) -> Iterator[socket.socket]:
    """Listen on api_address, and on bridge_address whether or not its bridge exists already."""
    addresses = [config.api_address]
    if config.api_address not in {"0.0.0.0", "::"}:
        addresses.append(config.bridge_address)
    for address in addresses:
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address == config.bridge_address:
            listener.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
        try:
            listener.bind((address, config.api_port))
        except OSError as error:
            listener.close()
            raise MachineError(
                "the API's port cannot be had",
                where=f"{address}:{config.api_port}",
                why=error.strerror,
                hint="choose another: --api-port",
            ) from error
        listener.setblocking(False)
        yield listener


async def _announce(server: _Server, started: asyncio.Event) -> None:
    while not server.started:
        await asyncio.sleep(0.005)
    started.set()
    _log.info("the API is ready")


async def _stop(server: _Server) -> None:
    """Close connections: watches are cut, answers under way get a moment."""
    for connection in list(server.server_state.connections):
        connection.shutdown()
    for task in list(server.server_state.tasks):
        task.cancel()
    await asyncio.sleep(0)


async def _expire_events(store: Store) -> None:
    """Remove Events an hour after they last happened (kube-apiserver's --event-ttl), until cancelled."""
    while True:
        try:
            await _sweep(store, datetime.now(UTC) - _EVENT_LIFE)
        except StoreFailedError as error:  # what is stored is still served; the next sweep may find room
            _log.error("an Event cannot be removed", error=str(error), next_seconds=_SWEEP_EVERY)
        await asyncio.sleep(_SWEEP_EVERY)


async def _sweep(store: Store, limit: datetime) -> None:
    for record in store.records("events"):
        if _last_seen(record.object()) < limit:
            with contextlib.suppress(StaleRecordError):
                await store.delete(record)


def _last_seen(event: dict[str, Any]) -> datetime:
    series = event.get("series") or {}
    metadata = event["metadata"]
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    found = [parse_timestamp(text) for text in (*times, metadata["creationTimestamp"]) if text]
    return max(found)
