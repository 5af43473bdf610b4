"""Mounts and the pinned mount namespace that an engine's service lives in.

The service needs an /etc/hosts of its own, so that names, token realms and credentials of a registry are the same on a
node as on a cluster. It therefore runs in a mount namespace of its own. The namespace is pinned to a file: a service
that was killed and started again must find the mounts of the containers that run on.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from binderops.podman.commands import run

MOUNTINFO = Path("/proc/self/mountinfo")


class Mount(NamedTuple):
    """One line of mountinfo(5), as far as it matters here."""

    point: str
    shared: bool
    kind: str


def mounts(text: str | None = None) -> list[Mount]:
    """The mounts of this process' namespace, in the kernel's order (a later one hides an earlier)."""
    found = []
    for line in (MOUNTINFO.read_text() if text is None else text).splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        point = fields[4].encode().decode("unicode_escape")
        found.append(Mount(point, any(field.startswith("shared:") for field in fields[6:]), right.split()[0]))
    return found


def mounted_at(path: Path) -> Mount | None:
    """The topmost mount whose mount point is exactly `path`."""
    return next((mount for mount in reversed(mounts()) if mount.point == str(path)), None)


def holding(path: Path) -> Mount:
    """The mount that `path` lies on."""
    above = {str(path), *map(str, path.parents)}
    return max((mount for mount in mounts() if mount.point in above), key=lambda mount: len(mount.point))


async def share(folder: Path) -> None:
    """Make later mounts below `folder` appear in namespaces that are slaves of this one (as `ip netns` does)."""
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    if holding(folder).shared:
        return
    if mounted_at(folder) is None:
        # With what is mounted below it already: a plain bind would hide that.
        await run(["mount", "--rbind", str(folder), str(folder)])
    await run(["mount", "--make-rshared", str(folder)])


async def mount_memory(folder: Path, *, size: int | None = None, mode: int = 0o755) -> None:
    """Mount a tmpfs of at most `size` bytes at `folder`, unless one is mounted there."""
    folder.mkdir(parents=True, exist_ok=True)
    if mounted_at(folder) is not None:
        return
    options = f"mode={mode:o},nodev,nosuid" + (f",size={size}" if size else "")
    await run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)])


async def unmount(folder: Path) -> None:
    """Unmount everything mounted at `folder`; lazily, since a process that still holds a file must not block it."""
    while mounted_at(folder) is not None:
        await run(["umount", "--lazy", str(folder)])


async def pin_namespace(file: Path, *, hosts: Path) -> None:
    """Make (unless it is there) a mount namespace, pinned at `file`, in which /etc/hosts is `hosts`."""
    if mounted_at(file) is not None:
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The kernel refuses to pin a mount namespace on a mount that would propagate into it.
    if mounted_at(file.parent) is None:
        await run(["mount", "--bind", str(file.parent), str(file.parent)])
    await run(["mount", "--make-private", str(file.parent)])
    file.touch()
    await run(["unshare", f"--mount={file}", "--propagation", "slave", "true"])
    await run([*entering(file), "mount", "--bind", str(hosts), "/etc/hosts"])


async def release_namespace(file: Path) -> None:
    """Undo `pin_namespace`; the namespace ends with the last process in it."""
    await unmount(file)
    await unmount(file.parent)
    await asyncio.to_thread(file.unlink, True)


def entering(file: Path) -> list[str]:
    """The words that run what follows in the namespace pinned at `file`."""
    return ["nsenter", f"--mount={file}", "--"]
