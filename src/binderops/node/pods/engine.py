"""Keeping the node's engine alive, and hearing from it which containers ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from binderops.errors import EngineError, EngineUnavailableError
from binderops.kube.kinds import Object
from binderops.kube.objects import name_of, namespace_of, spec_of
from binderops.node import lasting
from binderops.node.config import NodeConfig
from binderops.node.pods import records
from binderops.node.pods.lateness import Lateness
from binderops.podman import EngineSettings, Podman, hosts_text, start_service
from binderops.podman.mounts import mount_memory

log = structlog.get_logger(__name__)

NETWORK_NAMESPACES = Path("/run/netns")
RETRY_SECONDS = 1.0
SIGN_SECONDS = 10.0
SIGNS = 3
"""An engine that answers none of so many questions, each within the seconds above, is started anew."""
LATE_SHARE = 0.1


def memory_folder(config: NodeConfig) -> Path:
    """The tmpfs of what must not reach a disk: Secrets, tokens."""
    return config.run / "memory"


def disk_folder(config: NodeConfig) -> Path:
    """Where pods' own folders lie."""
    return config.state / "pods"


def engine_settings(config: NodeConfig) -> EngineSettings:
    """The node's own engine: its storage below the state folder, its socket below the run folder."""
    return EngineSettings.of_machine(
        config.state / "podman",
        run=config.run / "podman",
        temporary=config.state / "tmp",
        image_stores=config.image_stores,
        shared_folders=(NETWORK_NAMESPACES, disk_folder(config), memory_folder(config)),
    )


async def begin(config: NodeConfig) -> EngineSettings:
    """Start the engine's service, or find the one that runs."""
    await mount_memory(memory_folder(config), mode=0o755)
    settings = engine_settings(config)
    await _start(settings, config.name)
    return settings


async def listen(
    settings: EngineSettings, podman: Podman, node: str, ended: Callable[[str, str], None], missed: asyncio.Event
) -> None:
    """Call `ended(pod uid, container id)` for each of the node's containers that ends.

    The service is started again if it dies, or runs and does not answer any longer; `missed` is set when events may
    have been lost, so that somebody compares everything.
    """
    since = int(time.time())

    async def hear() -> None:
        nonlocal since
        async for event in podman.events(since=since, filters={"type": ["container"], "event": ["died"]}):
            since = event.time_ns // 1_000_000_000
            if event.attributes.get(records.NODE) == node:
                ended(event.attributes.get(records.POD_UID, ""), event.id)

    while True:
        since = min(since, int(time.time()))  # a clock that was set back must not hide what happens from now on
        hearing = asyncio.create_task(hear())
        try:
            await until_silent(podman, hearing)
            await hearing
            log.warning("the engine ended its stream of events", socket=str(settings.socket))
        except EngineError as error:
            log.warning("the engine's events were interrupted", error=str(error))
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
        try:
            await _start(settings, node)
        except EngineError:
            log.exception("the engine's service could not be started")
        missed.set()
        await asyncio.sleep(RETRY_SECONDS)


async def until_silent(podman: Podman, hearing: asyncio.Future[None]) -> None:
    """Ask the engine for a sign of life until `hearing` is done; EngineError if it gives none time after time.

    Events may stay away for hours, so nothing else tells a service that hangs from one that has nothing to say. On a
    machine under load an answer may take long; one that this process itself came late for is not missed.
    """
    missed = 0
    while not hearing.done():
        await asyncio.wait({hearing}, timeout=RETRY_SECONDS if missed else SIGN_SECONDS)
        lateness = Lateness()
        try:
            with lateness:
                await podman.ping(deadline=SIGN_SECONDS)
            missed = 0
        except EngineError as error:
            if isinstance(error, EngineUnavailableError) or lateness.seconds > LATE_SHARE * SIGN_SECONDS:
                continue
            missed += 1
            log.warning("the engine gives no sign of life", missed=missed, of=SIGNS, within_seconds=SIGN_SECONDS)
            if missed >= SIGNS:
                raise


async def _start(settings: EngineSettings, node: str) -> None:
    pid = await start_service(settings)
    await asyncio.to_thread(lasting.keep, node, pid)  # and with it every conmon that it starts


def write_hosts(settings: EngineSettings, services: Iterable[Object]) -> None:
    """Let the engine resolve `NAME.NAMESPACE.svc` of every Service with an address: registries and token realms."""
    names = {}
    for service in services:
        address = spec_of(service).get("clusterIP")
        if address and address != "None":
            names[f"{name_of(service)}.{namespace_of(service)}.svc"] = str(address)
    text = hosts_text(names)
    if settings.hosts.read_text() != text:
        # In place: the file is bind-mounted in the engine's namespace.
        with settings.hosts.open("r+") as stream:
            stream.write(text)
            stream.truncate()
