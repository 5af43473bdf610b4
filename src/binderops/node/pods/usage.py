"""How much lies in folders, and in files that have no name any more but are still open: measured, not believed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from binderops.node.pods.ephemeral import Room

DU_SECONDS = 60.0
OPEN_FILES_SECONDS = 2.0
IN_MEMORY = frozenset((
    "tmpfs", "ramfs", "devtmpfs", "hugetlbfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "bpf",
    "tracefs", "debugfs", "securityfs",
))  # fmt: skip


def room_of(folder: Path) -> Room:
    """The file system that holds `folder`, as somebody without root's reserve sees it."""
    found = os.statvfs(folder)
    return Room(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


async def sizes(folders: Sequence[Path], *, seconds: float = DU_SECONDS) -> dict[Path, int]:
    """Bytes on disk below each folder; a file with several names counts once. What takes longer than `seconds` lacks.

    By coreutils' du: a hostile tree (deep, wide, of odd names) costs time there, not in this process.
    """
    present = [folder for folder in folders if folder.exists()]
    if not present:
        return {}
    program = await asyncio.create_subprocess_exec(
        *("nice", "-n", "10", "du", "--summarize", "--one-file-system", "--block-size=1", "--null", "--"),
        *map(str, present),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # files that went away while it looked
        env={"PATH": os.defpath, "LC_ALL": "C"},
    )
    assert program.stdout is not None
    found: dict[Path, int] = {}
    try:
        async with asyncio.timeout(seconds):
            while entry := await _until_null(program.stdout):
                size, _, name = os.fsdecode(entry).partition("\t")
                found[Path(name)] = int(size)
            await program.wait()
    except TimeoutError:
        pass
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    return found


async def _until_null(stream: asyncio.StreamReader) -> bytes:
    try:
        return (await stream.readuntil(b"\0"))[:-1]
    except asyncio.IncompleteReadError:
        return b""


def unlinked(pids: Iterable[int], *, seconds: float = OPEN_FILES_SECONDS) -> int | None:
    """Bytes of files on disk that these processes hold open and that no folder names: no `du` can see them.

    Each file counts once. Files in memory (memfd, tmpfs) do not count: the memory limit has them. None where there are
    so many that looking took longer than `seconds`: those that were looked at say nothing about the rest.
    """
    seen: dict[tuple[int, int], int] = {}
    devices: frozenset[int] | None = None
    end = time.monotonic() + seconds
    for pid in pids:
        if devices is None:
            devices = _disks(pid)
        for folder in (f"/proc/{pid}/fd", f"/proc/{pid}/map_files"):
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    if time.monotonic() > end:
                        return None
                    with contextlib.suppress(OSError):
                        found = entry.stat()
                        if stat.S_ISREG(found.st_mode) and found.st_nlink == 0 and found.st_dev in (devices or ()):
                            seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def _disks(pid: int) -> frozenset[int] | None:
    """The devices of file systems on disk that a process sees; None if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return None
    devices = set()
    for line in lines:
        head, _, tail = line.partition(" - ")
        major, minor = head.split()[2].split(":")
        if tail.split()[0] not in IN_MEMORY:
            devices.add(os.makedev(int(major), int(minor)))
    return frozenset(devices)
