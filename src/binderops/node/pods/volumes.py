"""A pod's volumes on this machine: made before its containers, kept up to date, removed after them.

`disk` (below the state folder) holds emptyDirs; `memory` is a tmpfs below the run folder, since a Secret must not reach
a disk: it holds what comes from the API, and memory-backed emptyDirs as mounts of their own. Modes inside a volume are
the pod's (a Secret's files are 0644): so a pod's folder in both lets nobody else of the machine through.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from binderops.errors import ContainerConfigError, VolumeSetupError
from binderops.kube.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, Object
from binderops.kube.objects import namespace_of, spec_of, status_of, uid_of
from binderops.kube.quantity import to_bytes
from binderops.node.pods.identity import Owner, Range, is_shown
from binderops.node.pods.nesting import make_mount_points
from binderops.node.pods.payload import write_payload
from binderops.node.pods.sources import Context, files_of, is_payload
from binderops.podman.idmaps import mount_mapped
from binderops.podman.mounts import mount_memory, mounted_at, mounts, unmount

HOST_PATH_CHECKS = {
    "Directory": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}


class Volumes:
    """Makes and removes the volumes of pods below two folders."""

    def __init__(self, disk: Path, memory: Path, *, shared: Range) -> None:
        """`shared`: the ids that own what pods with user namespaces find on this machine."""
        self.disk = disk
        self.memory = memory
        self._shared = shared

    def folder(self, uid: str) -> Path:
        """The pod's own folder on disk (logs of termination, hosts, resolv.conf, emptyDirs)."""
        return self.disk / uid

    async def prepare(self, pod: Object, owner: Owner, context: Context) -> dict[str, Path]:
        """Make every volume of `pod` (idempotent); where each lies, by name. VolumeSetupError names what fails."""
        for root in (self.disk, self.memory):
            await asyncio.to_thread(_close, root / uid_of(pod), owner)
        volumes = spec_of(pod).get("volumes") or []
        places = await asyncio.gather(*(self._prepare_named(pod, volume, owner, context) for volume in volumes))
        return {str(volume["name"]): place for volume, place in zip(volumes, places, strict=True)}

    async def refresh(self, pod: Object, owner: Owner, context: Context) -> None:
        """Bring the files that come from the API up to date."""
        for volume in spec_of(pod).get("volumes") or []:
            if is_payload(volume):
                await self._prepare_named(pod, volume, owner, context)

    async def remove(self, uid: str) -> None:
        """Unmount and remove everything of a pod (idempotent). Claims' and host paths' content stays."""
        for root in (self.disk / uid, self.memory / uid):
            inside = [Path(mount.point) for mount in mounts() if Path(mount.point).is_relative_to(root)]
            for point in reversed(inside):
                await unmount(point)
            if root.exists():
                await asyncio.to_thread(shutil.rmtree, root, True)

    def known(self) -> set[str]:
        """The uids of all pods that have something here."""
        return {entry.name for root in (self.disk, self.memory) if root.is_dir() for entry in root.iterdir()}

    async def _prepare_named(self, pod: Object, volume: Mapping[str, Any], owner: Owner, context: Context) -> Path:
        try:
            return await self._prepare(pod, volume, owner, context)
        except (VolumeSetupError, ContainerConfigError, OSError) as error:
            raise VolumeSetupError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error

    async def _prepare(self, pod: Object, volume: Mapping[str, Any], owner: Owner, context: Context) -> Path:
        name, uid = str(volume["name"]), uid_of(pod)
        if is_payload(volume):
            files = await files_of(pod, volume, context)
            folder = self._made(self.memory / uid / "volumes" / name, owner, mode=0o755)
            write_payload(folder, files, owner)
            make_mount_points(folder, pod, name, owner)
            return folder
        if volume.get("emptyDir") is not None:
            return await self._empty(uid, name, volume["emptyDir"], owner)
        if source := volume.get("hostPath"):
            path = host_path(Path(str(source["path"])), str(source.get("type") or ""))
            if owner.base in {0, self._shared[0]} or not is_shown(pod, volume):
                return path
            return await asyncio.to_thread(self._shown, path, self.disk / uid / "shown" / name, owner)
        if source := volume.get("persistentVolumeClaim"):
            return await _claimed(namespace_of(pod), str(source["claimName"]), owner, context)
        kind = ", ".join(key for key in volume if key != "name")
        raise VolumeSetupError(f"this node does not support volumes of kind {kind or 'none'}")

    async def _empty(self, uid: str, name: str, source: Mapping[str, Any], owner: Owner) -> Path:
        mode = 0o2777 if owner.fs_group is not None else 0o777
        if source.get("medium") != "Memory":
            return self._made(self.disk / uid / "volumes" / name, owner, mode=mode)
        folder = self.memory / uid / "volumes" / name
        if not folder.is_dir():
            folder.mkdir(parents=True)
        limit = source.get("sizeLimit")
        await mount_memory(folder, size=to_bytes(str(limit)) if limit else None, mode=mode)
        return self._made(folder, owner, mode=mode)

    def _shown(self, source: Path, target: Path, owner: Owner) -> Path:
        """The folder under the pod's own ids; it stands apart from emptyDirs, which count for the pod."""
        target.mkdir(parents=True, exist_ok=True)
        if mounted_at(target) is None:
            mount_mapped(source, target, shown=owner.range, stored=self._shared)
        return target

    def _made(self, folder: Path, owner: Owner, *, mode: int) -> Path:
        """The folder with its owner and mode, which are set when it is made (or mounted) only: then it is the pod's."""
        fresh = not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        found = folder.stat()
        if fresh or (found.st_uid, found.st_gid) == (0, 0) != (owner.uid, owner.gid):
            os.chown(folder, owner.uid, owner.gid)
        if fresh:
            folder.chmod(mode)
        return folder


def _close(folder: Path, owner: Owner) -> None:
    """Make a pod's folder passable for the machine's root and for the root of the pod's user namespace alone."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, 0, owner.base)
    folder.chmod(0o710)


def host_path(path: Path, kind: str) -> Path:
    """A path of the machine, made or checked as `hostPath.type` wants; VolumeSetupError if it is not that."""
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
        kind = "Directory"
    if kind == "FileOrCreate":
        if not path.exists():
            path.touch(mode=0o644)
        kind = "File"
    if not kind:
        if not path.exists():
            path.mkdir(parents=True, mode=0o755)  # as CRI runtimes do for a bind mount without a source
        return path
    check = HOST_PATH_CHECKS.get(kind)
    if check is None:
        raise VolumeSetupError(f"hostPath type check failed: unknown type {kind}")
    if not path.exists() or not check(path.stat().st_mode):
        raise VolumeSetupError(f"hostPath type check failed: {path} is not a {kind.lower()}")
    return path


async def _claimed(namespace: str, claim: str, owner: Owner, context: Context) -> Path:
    found = await context.fetch(PERSISTENT_VOLUME_CLAIM, namespace, claim)
    if found is None:
        raise VolumeSetupError(f'persistentvolumeclaim "{claim}" not found')
    volume_name = spec_of(found).get("volumeName")
    if not volume_name or status_of(found).get("phase") != "Bound":
        raise VolumeSetupError(f'persistentvolumeclaim "{claim}" is not bound yet')
    volume = await context.fetch(PERSISTENT_VOLUME, "", str(volume_name))
    spec = spec_of(volume or {})
    source = spec.get("hostPath") or spec.get("local")
    if not source:
        raise VolumeSetupError(f'persistentvolume "{volume_name}" is not on this machine')
    kind = str(source.get("type") or "DirectoryOrCreate")
    path = await asyncio.to_thread(host_path, Path(str(source["path"])), kind)
    await asyncio.to_thread(give, path, owner)
    return path


def give(root: Path, owner: Owner) -> None:
    """Make a volume the pod's group's (fsGroup), or its user namespace's; all below it too, unless its top already is.

    The mode bits are the kubelet's: group may do what the owner may, new entries inherit the group.
    """
    if owner.fs_group is None and owner.base == 0:
        return
    top = root.stat()
    wanted = 0o2770 if owner.fs_group is not None else 0o700
    shifted = owner.base == 0 or top.st_uid >= owner.base
    if shifted and (owner.fs_group is None or (top.st_gid == owner.gid and top.st_mode & wanted == wanted)):
        return
    # The top comes last: if this is interrupted, the next start begins anew.
    for folder, names, files in os.walk(root, topdown=False):
        for name in [*names, *files]:
            _give_one(Path(folder) / name, owner)
    _give_one(root, owner)


def _give_one(path: Path, owner: Owner) -> None:
    found = path.lstat()
    uid = owner.base + found.st_uid if found.st_uid < owner.base else found.st_uid
    if owner.fs_group is not None:
        gid = owner.gid
    else:
        gid = owner.base + found.st_gid if found.st_gid < owner.base else found.st_gid
    os.lchown(path, uid, gid)
    if owner.fs_group is None or stat.S_ISLNK(found.st_mode):
        return
    extra = 0o2770 if stat.S_ISDIR(found.st_mode) else 0o660
    path.chmod(stat.S_IMODE(found.st_mode) | extra)
