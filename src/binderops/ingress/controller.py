"""The loop: on each change, routing and certificates, configuration, reload, and then what there is to tell."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog
from prometheus_client import Counter, Gauge, start_http_server

from binderops.errors import BinderOpsError, ProxyConfigurationError
from binderops.ingress.configuration import Settings
from binderops.ingress.keystore import KeyStore
from binderops.ingress.picture import Painter, Picture
from binderops.ingress.proxy import Proxy
from binderops.ingress.quarantine import Quarantine
from binderops.ingress.reporting import Reporter
from binderops.ingress.routing import Key
from binderops.ingress.tls import Certificates
from binderops.ingress.watcher import Scope, Watcher
from binderops.kube.client import Client

log = structlog.get_logger(__name__)

RELOADS = Counter("nginx_ingress_reloads_total", "Configurations that were tested and swapped in.", ["result"])
HOSTS = Gauge("nginx_ingress_hosts", "Host names that are served.")
HELD = Gauge("nginx_ingress_held_ingresses", "Ingresses that are left out because nginx refuses them.")
EXPIRY = Gauge(
    "nginx_ingress_certificate_expiry_timestamp_seconds",
    "When the certificate of a Secret, as it is served, ends (seconds since 1970).",
    ["namespace", "secret"],
)


@dataclass(frozen=True)
class Arguments:
    """What the chart hands over; objects as (namespace, name). `public_tls_port` 0: no TLS."""

    ingress_class: str = "nginx"
    watch_namespace: str | None = None
    publish_service: Key | None = None
    default_backend_service: Key | None = None
    default_ssl_certificate: Key | None = None
    configmap: Key | None = None
    folder: Path = Path("/tmp/nginx")
    certificates: Path | None = None  # None: a folder inside `folder`
    http_port: int = 8080
    https_port: int = 8443
    public_tls_port: int = 0
    health_port: int = 9913
    metrics_port: int = 9914


async def run(client: Client, arguments: Arguments) -> None:
    """Serves until cancelled. Raises BinderOpsError when nginx or a watch ends by itself: a restart is the cure."""
    server, thread = start_http_server(arguments.metrics_port, addr="127.0.0.1")
    controller = Controller(client, arguments)
    try:
        await controller.run()
    finally:
        server.shutdown()
        thread.join(timeout=5)


class Controller:
    """One nginx and what it is told."""

    def __init__(self, client: Client, arguments: Arguments) -> None:
        self._arguments = arguments
        arguments.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._proxy = Proxy(arguments.folder, health_port=arguments.health_port)
        self._reporter = Reporter(client)
        self._quarantine = Quarantine()
        self._watcher = Watcher(client, _scope(arguments))
        self._store: KeyStore | None = None
        self._certificates: Certificates | None = None
        if arguments.public_tls_port:
            self._store = KeyStore(arguments.certificates or arguments.folder / "certificates")
            self._certificates = Certificates(self._store)
        self._painter = Painter(
            self._watcher,
            self._certificates,
            _surroundings(arguments),
            default_backend=arguments.default_backend_service,
            default_certificate=arguments.default_ssl_certificate,
        )

    async def run(self) -> None:
        """Follows the API until cancelled, then lets open requests end."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._proxy.stop)
            await self._watcher.start(stack)
            await self._synchronise()
            ended = asyncio.create_task(self._proxy.wait())
            stack.callback(ended.cancel)
            while True:
                await self._next(ended)
                await self._synchronise()

    async def _next(self, ended: asyncio.Task[int]) -> None:
        change = asyncio.create_task(self._watcher.change())
        try:
            await asyncio.wait({change, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not change.done():
                change.cancel()
        if ended.done():
            raise BinderOpsError(f"nginx ended by itself (exit {ended.result()})", why="its own messages stand above")
        await change

    async def _synchronise(self) -> None:
        served = self._watcher.served()
        picture = self._painter.picture(self._quarantine.admitted(served))
        HELD.set(len(served) - len(picture.ingresses))
        try:
            changed = await self._proxy.apply(picture.text)
        except (ProxyConfigurationError, ValueError) as error:
            await self._refused(picture, error)
            return
        if changed:
            RELOADS.labels("ok").inc()
            HOSTS.set(len(picture.routing.hosts))
            log.info("configuration in force", hosts=len(picture.routing.hosts), ingresses=len(picture.ingresses))
        if self._store is not None and picture.tls is not None:
            self._store.keep(picture.tls.files)
        await self._tell(picture)

    async def _refused(self, picture: Picture, error: Exception) -> None:
        """Leaves out the Ingresses that nginx refuses, and goes on with the others."""
        RELOADS.labels("refused").inc()
        log.error("the configuration was refused", error=str(error))
        offenders = await self._quarantine.hold_offenders(
            picture.ingresses, lambda keys: self._accepts(self._painter.part(picture, keys))
        )
        await self._reporter.refused(offenders or picture.routing.handled, self._watcher.ingresses, str(error)[:800])
        if offenders:
            await self._synchronise()
        elif not self._proxy.running:
            raise BinderOpsError("nginx cannot be started", why=str(error))

    async def _accepts(self, picture: Picture) -> bool:
        try:
            await self._proxy.test(picture.text)
        except (ProxyConfigurationError, ValueError):
            return False
        return True

    async def _tell(self, picture: Picture) -> None:
        arguments, watcher, reporter = self._arguments, self._watcher, self._reporter
        await reporter.complaints(picture.complaints, watcher.ingresses)
        await reporter.settings(watcher.settings()[1], watcher.settings_object())
        published = watcher.services.objects.get(arguments.publish_service) if arguments.publish_service else None
        await reporter.addresses(picture.routing, watcher.ingresses, published)
        if self._certificates is None:
            return
        reporter.default_certificate(
            self._certificates.default_problem(watcher.secrets(), arguments.default_ssl_certificate)
        )
        EXPIRY.clear()
        for (namespace, name), end in self._certificates.expiries().items():
            EXPIRY.labels(namespace, name).set(end.timestamp())


def _scope(arguments: Arguments) -> Scope:
    return Scope(
        class_name=arguments.ingress_class,
        namespace=arguments.watch_namespace,
        tls=arguments.public_tls_port > 0,
        default_certificate=arguments.default_ssl_certificate,
        settings=arguments.configmap,
    )


def _surroundings(arguments: Arguments) -> Settings:
    return Settings(
        arguments.folder,
        http_port=arguments.http_port,
        https_port=arguments.https_port,
        public_tls_port=arguments.public_tls_port,
        health_port=arguments.health_port,
        metrics_port=arguments.metrics_port,
    )
