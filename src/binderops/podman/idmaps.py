"""Mounts that show files under other ids (mount_setattr(2), MOUNT_ATTR_IDMAP; Linux 5.12), with the kernel's own calls.

mount(8) has a word for it from util-linux 2.39 on, runc from 1.2: Debian 12 has neither.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

Range = tuple[int, int]
"""The first of some ids, and how many they are."""

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same on every architecture
_HERE = -100  # AT_FDCWD
_CLONE, _CLOSE_ON_EXEC, _RECURSIVE = 0x1, 0o2000000, 0x8000
_EMPTY_PATH, _FROM_EMPTY_PATH = 0x1000, 0x4
_READ_ONLY, _NO_SETUID, _NO_DEVICES, _MAPPED = 0x1, 0x2, 0x4, 0x00100000
_SECONDS = 10.0
_libc = ctypes.CDLL(None, use_errno=True)


def mount_mapped(source: Path, target: Path, *, shown: Range, stored: Range) -> None:
    """Mount a folder, and what is mounted below it, read-only at `target`.

    What belongs to the ids `stored` on disk belongs to `shown` there. Raises OSError.
    """
    with _tree(source, shown=shown, stored=stored) as tree:
        _call(_MOVE_MOUNT, tree, b"", _HERE, os.fsencode(target), _FROM_EMPTY_PATH)


def can_map(folder: Path) -> bool:
    """Whether the file systems of a folder can be mounted so, and this process may."""
    try:
        return _can_map(folder.resolve(strict=True), folder.stat().st_dev)
    except OSError:
        return False


@lru_cache(maxsize=64)
def _can_map(folder: Path, device: int) -> bool:
    try:
        with _tree(folder, shown=(1, 1), stored=(0, 1)):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def _tree(source: Path, *, shown: Range, stored: Range) -> Iterator[int]:
    """A mount that is attached nowhere yet, as a file descriptor."""
    with _user_namespace(inside=stored, outside=shown) as users:
        tree = _call(_OPEN_TREE, _HERE, os.fsencode(source), _CLONE | _CLOSE_ON_EXEC | _RECURSIVE)
        try:
            attributes = struct.pack("QQQQ", _MAPPED | _READ_ONLY | _NO_SETUID | _NO_DEVICES, 0, 0, users)
            _call(_MOUNT_SETATTR, tree, b"", _EMPTY_PATH | _RECURSIVE, attributes, len(attributes))
            yield tree
        finally:
            os.close(tree)


@contextlib.contextmanager
def _user_namespace(*, inside: Range, outside: Range) -> Iterator[int]:
    """A user namespace with these ids, as a file descriptor: the kernel takes a mount's map from one."""
    line = f"{inside[0]} {outside[0]} {outside[1]}\n"
    # It says so once it is in the namespace, and ends with its input.
    with subprocess.Popen(
        ["unshare", "--user", "sh", "-c", "echo; read end"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin
        assert holder.stdout
        try:
            if not holder.stdout.readline():
                raise OSError("unshare --user failed: this machine has no user namespaces")
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{holder.pid}/{name}").write_text(line)
            users = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            holder.stdin.close()
            holder.wait(_SECONDS)
    try:
        yield users
    finally:
        os.close(users)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
