"""Paths inside volumes that a pod can write: resolved by the kernel, never beyond the volume.

A container can swap a folder for a link between our look and Podman's mount. So a subPath is opened by openat2(2) with
RESOLVE_BENEATH, and what was opened (not its name) is bind-mounted to a place that only root can change.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from pathlib import Path, PurePosixPath

from binderops.errors import VolumeSetupError
from binderops.podman.commands import run
from binderops.podman.mounts import mounted_at

_OPENAT2 = 437  # the same number on every architecture that Linux added it to
_RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH = 0x02, 0x08
_libc = ctypes.CDLL(None, use_errno=True)


def open_beneath(root: Path, relative: str) -> int:
    """A descriptor (O_PATH) of `root/relative`, links followed inside `root` only; OSError, VolumeSetupError."""
    base = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _openat2(base, relative or ".", os.O_PATH | os.O_CLOEXEC)
    finally:
        os.close(base)


def make_beneath(root: Path, relative: str, *, uid: int, gid: int, mode: int = 0o750) -> None:
    """Make the folders of `relative` below `root` that are missing."""
    done = PurePosixPath()
    for part in PurePosixPath(relative).parts:
        parent = open_beneath(root, str(done))
        try:
            _make_one(parent, part, uid, gid, mode)
        finally:
            os.close(parent)
        done /= part


def _make_one(parent: int, name: str, uid: int, gid: int, mode: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return
    # By its descriptor: the pod may put a link in its place meanwhile. The mode apart, since mkdir's obeys our umask.
    made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.fchown(made, uid, gid)
        os.fchmod(made, mode)
    finally:
        os.close(made)


async def mount_beneath(root: Path, relative: str, target: Path) -> None:
    """Bind what `root/relative` is now to `target` (made here, a file or a folder like it)."""
    if mounted_at(target) is not None:
        return
    descriptor = open_beneath(root, relative)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        # The descriptor is ours, so it is named by our process; the mount program must not resolve it to a path.
        source = f"/proc/{os.getpid()}/fd/{descriptor}"
        await run(["mount", "--no-canonicalize", "--bind", source, str(target)])
    finally:
        os.close(descriptor)


def _openat2(base: int, relative: str, flags: int) -> int:
    how = struct.pack("QQQ", flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    descriptor: int = _libc.syscall(_OPENAT2, base, relative.encode(), how, len(how))
    if descriptor >= 0:
        return descriptor
    number = ctypes.get_errno()
    if number in (errno.EXDEV, errno.ELOOP):
        raise VolumeSetupError(f"{relative!r} leads out of its volume")
    raise OSError(number, os.strerror(number), relative)
