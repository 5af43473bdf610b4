"""The loop: on each change, routing, configuration, reload, and then what there is to tell."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog
from prometheus_client import Counter, Gauge, start_http_server

from binderops.errors import BinderOpsError, ProxyConfigurationError
from binderops.ingress.configuration import Settings, render
from binderops.ingress.proxy import Proxy
from binderops.ingress.reporting import Reporter
from binderops.ingress.watcher import Watcher
from binderops.kube.client import Client

log = structlog.get_logger(__name__)

RELOADS = Counter("nginx_ingress_reloads_total", "Configurations that were tested and swapped in.", ["result"])
HOSTS = Gauge("nginx_ingress_hosts", "Host names that are served.")


@dataclass(frozen=True)
class Arguments:
    """What the chart hands over; Services as (namespace, name)."""

    ingress_class: str = "nginx"
    watch_namespace: str | None = None
    publish_service: tuple[str, str] | None = None
    default_backend_service: tuple[str, str] | None = None
    folder: Path = Path("/tmp/nginx")
    http_port: int = 8080
    health_port: int = 9913


async def run(client: Client, arguments: Arguments) -> None:
    """Serves until cancelled. Raises BinderOpsError when nginx ends by itself: a restart is the cure."""
    arguments.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = Settings(arguments.folder, http_port=arguments.http_port, health_port=arguments.health_port)
    proxy, reporter = Proxy(arguments.folder), Reporter(client)
    watcher = Watcher(client, namespace=arguments.watch_namespace, class_name=arguments.ingress_class)
    start_http_server(settings.metrics_port, addr="127.0.0.1")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(proxy.stop)
        await watcher.start(stack)
        ended: asyncio.Task[int] | None = None
        while True:
            await _synchronise(watcher, proxy, reporter, arguments, settings)
            if ended is None and proxy.running:
                ended = asyncio.create_task(proxy.wait())
            await _next(watcher, ended)


async def _next(watcher: Watcher, ended: asyncio.Task[int] | None) -> None:
    change = asyncio.create_task(watcher.change())
    waiting: set[asyncio.Task[object]] = {change, *([ended] if ended else [])}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if ended is not None and ended.done():
        change.cancel()
        raise BinderOpsError(f"nginx ended by itself (exit {ended.result()})", why="its own messages stand above")


async def _synchronise(
    watcher: Watcher, proxy: Proxy, reporter: Reporter, arguments: Arguments, settings: Settings
) -> None:
    routing = watcher.routing(default_backend=arguments.default_backend_service)
    try:
        changed = await proxy.apply(render(routing, settings))
    except (ProxyConfigurationError, ValueError) as error:
        RELOADS.labels("refused").inc()
        log.error("the configuration was refused", error=str(error))
        await reporter.refused(routing, watcher.ingresses, str(error)[:800])
        return
    if changed:
        RELOADS.labels("ok").inc()
        HOSTS.set(len(routing.hosts))
        log.info("configuration in force", hosts=len(routing.hosts), ingresses=len(routing.handled))
    published = None
    if arguments.publish_service is not None:
        published = watcher.services.objects.get(arguments.publish_service)
    await reporter.complaints(routing, watcher.ingresses)
    await reporter.addresses(routing, watcher.ingresses, published)
