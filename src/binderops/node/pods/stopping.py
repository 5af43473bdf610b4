"""Stopping everything of a node whose process does not run: containers, the engine's service, mounts. Files stay."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from binderops.errors import EngineError
from binderops.node.config import NodeConfig
from binderops.node.pods import cgroups, engine, records
from binderops.node.pods.ending import KILL_SECONDS
from binderops.podman import EngineSettings, Podman, start_service, stop_service
from binderops.podman.mounts import mounts, unmount

log = structlog.get_logger(__name__)

GRACE_SECONDS = 10
REMOVAL_PAUSES = (0.2, 1.0)


async def stop(config: NodeConfig) -> None:
    """End all containers of the node (their stop signal, then SIGKILL), its engine, and its mounts. Idempotent."""
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
        try:
            await podman.containers.end_unknown(settings.storage)
        except EngineError as error:
            log.warning("what the engine does not know could not be ended", error=str(error))


async def _stop_one(podman: Podman, identity: str) -> None:
    try:
        found = await podman.containers.inspect(identity)
        await podman.containers.stop(identity, timeout=patience(found))
    except EngineError as error:
        log.debug("a container did not stop", container=identity, error=str(error), killed_within=KILL_SECONDS)
    for pause in REMOVAL_PAUSES:
        # conmon cleans up after a container that ended, at the same time: what one unmounts is busy for the other.
        with contextlib.suppress(EngineError):
            await podman.containers.remove(identity, force=True)
            return
        await asyncio.sleep(pause)
    await podman.containers.remove(identity, force=True)


def patience(found: Mapping[str, Any], *, proc: Path = Path("/proc")) -> int:
    """How long (s) to wait for a container after its stop signal, by `podman inspect`: its pod's grace, 10 s at most.

    Not at all where its first process has no handler: the kernel gives the first process of a pid namespace no signal
    that it did not ask for (pid_namespaces(7)), and waiting would only be waiting.
    """
    signal = records.signal_number(str((found.get("Config") or {}).get("StopSignal") or "TERM"))
    pid = int((found.get("State") or {}).get("Pid") or 0)
    if pid and not _handles(proc / str(pid) / "status", signal):
        return 0
    given = (found.get("Config") or {}).get("StopTimeout")
    return GRACE_SECONDS if given is None else min(GRACE_SECONDS, int(given))


def _handles(status: Path, signal: int) -> bool:
    """Whether a process catches a signal, or blocks it (to read it from a descriptor); true where that is not known."""
    try:
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        asked = int(fields["SigCgt"], 16) | int(fields["SigBlk"], 16)
    except (OSError, ValueError, KeyError):
        return True
    return bool(asked & 1 << (signal - 1))
