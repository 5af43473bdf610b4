"""`down` stops what runs and keeps all data; `purge` removes all that was started or made."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

from binderops.delivery.certificates_store import TrustStore
from binderops.delivery.holding import forget, held
from binderops.delivery.looking import environment_status
from binderops.delivery.progress import Progress, Step, running
from binderops.delivery.results import DownResult, PurgeResult
from binderops.delivery.served import newest_release
from binderops.delivery.settling import settle
from binderops.delivery.workspace import Workspace
from binderops.errors import BinderOpsError, NotFoundError
from binderops.helm.releases import ReleaseDoor
from binderops.images import remove_images
from binderops.kube.client import Client

_LAST_LOOK_SECONDS = 10
_LAYER_NOTES = Path("/var/lib/containers/cache/blob-info-cache-v1.boltdb")  # no setting of Podman moves it


async def down(workspace: Workspace, *, progress: Progress) -> DownResult:
    """Stops the target; on a cluster, where others run, it uninstalls nothing and says so."""
    with running(progress, "node" if workspace.environment.target.node else "cluster") as step:
        if not (await workspace.target.health()).made:
            step.summary = "nothing here to stop"
            return DownResult(environment=workspace.name, target=step.summary)
        # What it last was is for `status`; an API that does not answer keeps nobody from stopping it.
        with contextlib.suppress(BinderOpsError, TimeoutError):
            async with asyncio.timeout(_LAST_LOOK_SECONDS):
                await environment_status(workspace)
        await workspace.target.stop(report=step.say)
        step.summary = "stopped, data kept" if workspace.environment.target.node else "a cluster is not stopped"
    return DownResult(environment=workspace.name, target=step.summary)


async def purge(workspace: Workspace, *, progress: Progress) -> PurgeResult:
    """Removes the environment; where no other lives on this machine, the images and the state folder go too."""
    last = _is_last(workspace)
    was_made = (await workspace.target.health()).made
    removed: list[str] = []
    stays: list[str] = []
    if workspace.environment.target.cluster:
        with running(progress, "release") as step:
            step.summary = await _uninstall(workspace, step)
            removed.append(f"release {workspace.environment.release}")
    with running(progress, "node" if workspace.environment.target.node else "cluster") as step:
        stays += await workspace.target.remove(report=step.say)
        step.summary = "removed" if workspace.environment.target.node else "stays"
        if was_made:
            removed.append(f"environment {workspace.name}: processes, network, volumes, store")
    with running(progress, "files") as step:
        await asyncio.to_thread(shutil.rmtree, workspace.generated_layer.parent, True)
        if last:
            step.say("removing images")
            await remove_images(workspace.state)
            await asyncio.to_thread(shutil.rmtree, workspace.state, True)
            removed.append(f"{workspace.state}: images, caches, state")
            if workspace.state.exists():
                stays.append(f"{workspace.state}: could not be removed whole")
        else:
            stays.append(f"{workspace.state}/images: other environments on this machine use it")
        step.summary = "removed"
    if _LAYER_NOTES.exists():
        stays.append(f"{_LAYER_NOTES}: Podman's note of the layers it has seen; it has one for all its users")
    stays += still_trusted(workspace.name, TrustStore())
    stays.append("Debian packages that were installed: other programs may use them by now")
    return PurgeResult(environment=workspace.name, removed=tuple(removed), stays=tuple(stays))


async def _uninstall(workspace: Workspace, step: Step) -> str:
    """Uninstalls the release once nobody else is at work on it; Helm uninstalls what was cut off as well."""
    access, environment = workspace.target.access(), workspace.environment
    namespace, release, timeout = environment.namespace, environment.release, environment.timeout
    door = ReleaseDoor(access.kubeconfig, namespace, access.context)
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        try:
            async with held(client, namespace, release, timeout=timeout, step=step) as hold:
                await settle(client, hold, namespace=namespace, release=release, timeout=timeout, step=step)
                if (newest := await newest_release(door, release)) is not None:
                    await hold.begin(newest.revision)
                    await door.uninstall(release, timeout=timeout)
                    await hold.done()
        except NotFoundError:
            return "there is none"
        await forget(client, namespace, release)
    return "uninstalled"


def still_trusted(environment: str, store: TrustStore) -> list[str]:
    """The local CA, where this machine was told to trust it: whoever installed it says when it goes."""
    path = store.file(environment)
    return [f"{path}: this machine trusts its local CA (binderops trust {environment} --remove)"] * path.exists()


def _is_last(workspace: Workspace) -> bool:
    node = workspace.environment.target.node
    return all(node is not None and folder.name == node.name for folder in workspace.state.glob("nodes/*"))
