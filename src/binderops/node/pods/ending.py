"""Ending containers: preStop, the stop signal, the grace period, SIGKILL; and removing what a pod leaves."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from binderops.errors import EngineError, EngineNotFoundError, EngineUnavailableError
from binderops.kube.kinds import Object
from binderops.kube.objects import metadata_of, spec_of, uid_of
from binderops.node.pods import records
from binderops.node.pods.exits import ended, is_of, lives
from binderops.node.pods.kit import Kit
from binderops.node.pods.records import LOST_EXIT_CODE, Record, record_of
from binderops.node.pods.status import View

log = structlog.get_logger(__name__)

SHORTEST_GRACE_SECONDS = 2.0
"""What is left after a preStop hook that took the whole grace period (the kubelet's minimum)."""
KILL_SECONDS = 10.0
ANSWERS = 12
"""How often, over five seconds, an engine may say that a container runs whose process has ended."""
AWAY_SECONDS = 90.0
"""How long an engine may give no answer: one that hangs is started anew after a minute."""


def grace_seconds(pod: Object) -> float:
    """How long the pod's containers may take to end."""
    given = metadata_of(pod).get("deletionGracePeriodSeconds")
    if given is None:
        given = spec_of(pod).get("terminationGracePeriodSeconds")
    return float(30 if given is None else given)


async def stop_container(kit: Kit, pod: Object, view: View, *, address: str, grace: float) -> Record | None:
    """End a running container within `grace` seconds; its last record. Nothing to do for one that does not run.

    The record still says "running" if the kernel has not ended its process either (one that waits for a disk, say).
    """
    record = view.record
    if record is None or record.state != "running":
        return record
    loop = asyncio.get_running_loop()
    deadline = loop.time() + grace
    hook = (view.spec.get("lifecycle") or {}).get("preStop")
    if hook and grace > 0:
        outcome = await kit.actions.perform(hook, view.spec, engine_id=record.id, address=address, timeout=grace)
        if not outcome.ok:
            await kit.recorder.event(pod, "FailedPreStopHook", f"PreStopHook failed: {outcome.message}", "Warning")
    left = max(deadline - loop.time(), SHORTEST_GRACE_SECONDS if hook and grace > 0 else 0.0)
    if left > 0 and await _signal(kit, record, await _stop_signal(kit, record)):
        await ended(record.pid, timeout=left)
    if not await ended(record.pid, timeout=0):
        await _signal(kit, record, "KILL")
        if not await ended(record.pid, timeout=KILL_SECONDS):
            log.warning("a container's process goes on after SIGKILL", container=record.id, pid=record.pid)
    return await final_record(kit, record)


async def kill(kit: Kit, record: Record) -> None:
    """End a container's process at once."""
    await _signal(kit, record, "KILL")


async def final_record(kit: Kit, record: Record) -> Record:
    """The record of a container whose process has ended; while it has not, `record` itself.

    Its exit code may take the engine some moments to note. An engine that does not answer is started anew, and knows it
    then: the container's monitor has noted it.
    """
    until = asyncio.get_running_loop().time() + AWAY_SECONDS
    pause, answers = 0.005, 0
    while answers < ANSWERS:
        try:
            current = record_of(await kit.podman.containers.inspect(record.id))
            if current.state != "running":
                return current
            answers += 1
        except EngineNotFoundError:
            break
        except EngineError as error:
            if asyncio.get_running_loop().time() > until:
                break
            answers += not silent(error)
        if lives(record):
            return record
        await asyncio.sleep(pause)
        pause = min(pause * 2, 1.0)
    if lives(record):
        return record
    return record._replace(
        state="exited",
        exit_code=LOST_EXIT_CODE,
        error="the engine does not know how the container ended",
        finished_at=datetime.now(UTC),
    )


def silent(error: EngineError) -> bool:
    """Whether the engine gave no answer (in time), which says nothing of what it was asked about."""
    return isinstance(error, EngineUnavailableError) or not error.why


async def remove_containers(kit: Kit, uid: str) -> dict[str, EngineError]:
    """Remove every container of a pod, also those that no record tells of; why some could not be, by id.

    EngineError if the engine does not tell which there are.
    """
    found = await kit.podman.containers.list_all(
        labels=(f"{records.NODE}={kit.config.name}", f"{records.POD_UID}={uid}")
    )
    return await _remove(kit, [str(container["Id"]) for container in found])


async def prune(kit: Kit, pod: Object, view: View, *, keep: int) -> None:
    """Remove attempts before number `keep`, and their logs; the next call tries again what the engine cannot remove."""
    labels = (f"{records.POD_UID}={uid_of(pod)}", f"{records.CONTAINER}={view.name}")
    try:
        found = await kit.podman.containers.list_all(labels=labels)
        old = [c for c in found if int((c.get("Labels") or {}).get(records.ATTEMPT, keep)) < keep]
        left = await _remove(kit, [str(container["Id"]) for container in old])
    except EngineError as error:
        left = {view.name: error}
    for identity, why in left.items():
        log.warning("an earlier attempt could not be removed", container=identity, error=str(why))
    for path in (kit.log_folder(pod) / view.name).glob("*.log"):
        if path.stem.isdigit() and int(path.stem) < keep:
            path.unlink(missing_ok=True)


async def remove_logs(kit: Kit, pod: Object) -> None:
    """Remove the logs of all of a pod's containers."""
    await asyncio.to_thread(shutil.rmtree, kit.log_folder(pod), True)


async def _remove(kit: Kit, identities: Sequence[str]) -> dict[str, EngineError]:
    results = await asyncio.gather(
        *(kit.podman.containers.remove(identity, force=True) for identity in identities), return_exceptions=True
    )
    left = {}
    for identity, result in zip(identities, results, strict=True):
        if isinstance(result, EngineError):
            left[identity] = result
        elif isinstance(result, BaseException):
            raise result
    return left


async def _stop_signal(kit: Kit, record: Record) -> str:
    try:
        found = await kit.podman.containers.inspect(record.id)
    except EngineError:
        return "TERM"
    return str((found.get("Config") or {}).get("StopSignal") or "TERM")


async def _signal(kit: Kit, record: Record, name: str) -> bool:
    """Send a signal, by the engine or in its place; False where the container is not there to get it."""
    try:
        await kit.podman.containers.kill(record.id, signal=name)
    except EngineError as error:
        log.debug("the engine delivered no signal", container=record.id, signal=name, error=str(error))
        return _send(record, name)
    return True


def _send(record: Record, name: str) -> bool:
    """To the process itself, which must be the container's: its number may have been given to somebody else."""
    number = int(name) if name.isdigit() else getattr(signal, f"SIG{name.removeprefix('SIG')}", signal.SIGTERM)
    try:
        descriptor = os.pidfd_open(record.pid)
    except OSError:
        return False
    try:
        if not is_of(record.id, record.pid):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
