"""Stopping everything of a node whose process does not run: containers, the engine's service, mounts. Files stay."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from binderops.errors import EngineError
from binderops.node.config import NodeConfig
from binderops.node.pods import cgroups, engine, records
from binderops.node.pods.ending import KILL_SECONDS
from binderops.podman import EngineSettings, Podman, start_service, stop_service
from binderops.podman.mounts import mounts, unmount

log = structlog.get_logger(__name__)

GRACE_SECONDS = 10


async def stop(config: NodeConfig) -> None:
    """End all containers of the node (SIGTERM, then SIGKILL after 10 s), its engine, and its mounts. Idempotent."""
    settings = engine.engine_settings(config)
    if settings.folder.exists():
        await _stop_containers(settings, config.name)
    await stop_service(settings, release=True)
    await asyncio.to_thread(cgroups.remove_all, config.name)
    # Disk and memory volumes, subPaths, the engine's own mounts: the deepest first.
    for mount in reversed(mounts()):
        point = Path(mount.point)
        if point.is_relative_to(config.run) or point.is_relative_to(config.state):
            await unmount(point)


async def _stop_containers(settings: EngineSettings, node: str) -> None:
    await start_service(settings)  # only the engine can end what conmon runs
    async with Podman(settings.socket) as podman:
        found = await podman.containers.list_all(labels=(f"{records.NODE}={node}",))
        results = await asyncio.gather(
            *(_stop_one(podman, str(container["Id"])) for container in found), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                log.warning("a container could not be stopped", error=str(result))


async def _stop_one(podman: Podman, identity: str) -> None:
    try:
        await podman.containers.stop(identity, timeout=GRACE_SECONDS)
    except EngineError as error:
        log.debug("a container did not stop", container=identity, error=str(error), killed_within=KILL_SECONDS)
    await podman.containers.remove(identity, force=True)
