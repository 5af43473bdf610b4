"""Starting one attempt at a container: its image, environment, mounts; then create, start, and the postStart hook."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from binderops.errors import (
    ContainerConfigError,
    ContainerImageError,
    EngineError,
    EngineUnavailableError,
    VolumeSetupError,
)
from binderops.kube.kinds import Object
from binderops.kube.objects import spec_of
from binderops.node.pods.environment import container_environment
from binderops.node.pods.expansion import expand
from binderops.node.pods.kit import Kit
from binderops.node.pods.paths import make_beneath, mount_beneath
from binderops.node.pods.records import Record, record_of
from binderops.node.pods.rendering import Binding, Image, specification
from binderops.node.pods.sandbox import Sandbox
from binderops.node.pods.status import View

CANNOT_START_CODE = 128
TERMINATION_LOG = "/dev/termination-log"
PROPAGATION = {"HostToContainer": "slave"}


Tell = Callable[[str, str], None]
"""Makes an Event of the pod from its reason and message, beside what is being done."""


async def start(kit: Kit, pod: Object, view: View, sandbox: Sandbox, *, attempt: int, tell: Tell) -> Record:
    """Run attempt number `attempt`; its record, which may already have ended (exit code 128: it could not start).

    ContainerImageError, ContainerConfigError and VolumeSetupError say why there can be no attempt yet.
    """
    container = view.spec
    facts = kit.facts(pod, sandbox.address)
    view.fetching = True
    try:
        image, environment = await asyncio.gather(
            _image(kit, pod, container, tell), container_environment(pod, container, facts, kit.fetch)
        )
    finally:
        view.fetching = False
    view.digest = image.digest
    log = kit.log_folder(pod) / view.name / f"{attempt}.log"
    mounts = await _mounts(container, sandbox, environment, attempt)
    body = specification(
        pod,
        container,
        attempt=attempt,
        image=image,
        network=sandbox.network,
        environment=environment,
        mounts=mounts,
        log=log,
        machine=kit.machine,
    )
    await asyncio.to_thread(log.parent.mkdir, parents=True, exist_ok=True)
    return await _run(kit, pod, view, sandbox, body, tell)


async def _image(kit: Kit, pod: Object, container: Mapping[str, Any], tell: Tell) -> Image:
    name = container.get("image")
    image, pulled = await kit.puller.image_of(
        pod, container, pulling=lambda: tell("Pulling", f'Pulling image "{name}"')
    )
    if pulled:
        tell("Pulled", f'Successfully pulled image "{name}"')
    else:
        tell("Pulled", f'Container image "{name}" already present on machine')
    return image


async def _run(kit: Kit, pod: Object, view: View, sandbox: Sandbox, body: dict[str, Any], tell: Tell) -> Record:
    try:
        identity = await kit.podman.containers.create(body)
    except EngineError as error:
        if "already in use" not in (error.why or ""):
            raise ContainerConfigError(error.why or str(error)) from error
        # A create whose answer never reached us (the service was killed): that container never ran.
        await kit.podman.containers.remove(str(body["name"]), force=True)
        identity = await kit.podman.containers.create(body)
    tell("Created", f"Created container: {view.name}")
    try:
        await kit.podman.containers.start(identity)
    except EngineError as error:
        record = record_of(await kit.podman.containers.inspect(identity))
        if record.state != "created":
            return record
        now = datetime.now(UTC)
        return record._replace(
            state="exited", exit_code=CANNOT_START_CODE, error=error.why or str(error), started_at=now, finished_at=now
        )
    tell("Started", f"Started container {view.name}")
    record = record_of(await kit.podman.containers.inspect(identity))
    if hook := (view.spec.get("lifecycle") or {}).get("postStart"):
        await _post_start(kit, pod, view, sandbox, record, hook)
    return record


async def _post_start(
    kit: Kit, pod: Object, view: View, sandbox: Sandbox, record: Record, hook: Mapping[str, Any]
) -> None:
    """Run the hook; a container whose hook fails is killed (and its restartPolicy decides)."""
    outcome = await kit.actions.perform(
        hook, view.spec, engine_id=record.id, address=sandbox.address, timeout=_grace(pod)
    )
    if not outcome.ok:
        await kit.recorder.event(pod, "FailedPostStartHook", f"PostStartHook failed: {outcome.message}", "Warning")
        await kit.podman.containers.kill(record.id, signal="KILL")


async def _mounts(
    container: Mapping[str, Any], sandbox: Sandbox, environment: Mapping[str, str], attempt: int
) -> list[Binding]:
    message = termination_path(sandbox.folder, str(container["name"]), attempt)
    await asyncio.to_thread(_make_message, message, sandbox)
    bindings = [
        Binding(sandbox.folder / "hosts", "/etc/hosts", read_only=False),
        Binding(sandbox.folder / "resolv.conf", "/etc/resolv.conf", read_only=False),
        Binding(message, str(container.get("terminationMessagePath") or TERMINATION_LOG), read_only=False),
    ]
    for index, mount in enumerate(container.get("volumeMounts") or []):
        name = str(mount["name"])
        source = sandbox.volumes.get(name)
        if source is None:
            raise ContainerConfigError(f'volumeMounts names volume "{name}", which the pod does not have')
        relative = str(mount.get("subPath") or "") or expand(str(mount.get("subPathExpr") or ""), environment)
        if relative:
            source = await _sub_path(sandbox, name, source, relative, f"{container['name']}-{attempt}-{index}")
        read_only = bool(mount.get("readOnly")) or name in sandbox.payloads
        propagation = PROPAGATION.get(str(mount.get("mountPropagation") or ""), "private")
        bindings.append(Binding(source, str(mount["mountPath"]), read_only, propagation))
    targets = {binding.target.rstrip("/") for binding in bindings[3:]}
    return [*(binding for binding in bindings[:3] if binding.target not in targets), *bindings[3:]]


async def _sub_path(sandbox: Sandbox, name: str, volume: Path, relative: str, label: str) -> Path:
    if relative.startswith("/") or ".." in Path(relative).parts:
        raise VolumeSetupError(f"subPath {relative!r} leads out of its volume")
    target = sandbox.folder / "subpaths" / name / label
    try:
        if name not in sandbox.payloads and volume.is_dir():
            mode = volume.stat().st_mode & 0o7777
            make_beneath(volume, relative, uid=sandbox.owner.uid, gid=sandbox.owner.gid, mode=mode)
        await mount_beneath(volume, relative, target)
    except (OSError, EngineError) as error:
        raise VolumeSetupError(f'failed to prepare subPath for volumeMount "{name}": {error}') from error
    return target


def termination_path(folder: Path, container: str, attempt: int) -> Path:
    """The file that an attempt writes its last words to, in the pod's own folder."""
    return folder / "containers" / container / f"{attempt}.message"


def _make_message(path: Path, sandbox: Sandbox) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o666)
        shutil.chown(path, sandbox.owner.uid, sandbox.owner.gid)


def _grace(pod: Object) -> float:
    return float(spec_of(pod).get("terminationGracePeriodSeconds") or 30)


def engine_is_away(error: BaseException | None) -> bool:
    """Whether `start` failed since the engine did not answer: it is started anew, no container is at fault."""
    while error is not None:
        if isinstance(error, EngineUnavailableError):
            return True
        error = error.__cause__
    return False


def waiting_reason(error: Exception) -> tuple[str, str]:
    """(reason, message) of the waiting state for what `start` raised."""
    if isinstance(error, ContainerImageError):
        return error.reason, str(error)
    if isinstance(error, ContainerConfigError | VolumeSetupError):
        return "CreateContainerConfigError", str(error)
    return "CreateContainerError", str(error)
