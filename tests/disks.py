"""Small file systems of the tests' own, in files that are mounted: to be filled to the last byte. They need root."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SECONDS = 60


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """An ext4 of so many bytes, mounted below `folder` until the end; no part of it is kept back for root."""
    image, mounted = folder / "disk.img", folder / "disk"
    with image.open("wb") as file:
        file.truncate(size)
    mounted.mkdir()
    run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
    mount(image, mounted)
    try:
        yield mounted
    finally:
        run("umount", str(mounted))


def mount(image: Path, folder: Path) -> None:
    """Errors of the disk make it read-only, as on a machine."""
    run("mount", "-o", "loop,errors=remount-ro", str(image), str(folder))


def fill(path: Path) -> None:
    """Write a file until the disk takes no byte more, for whoever asks: no file of one byte, and no folder."""
    with path.open("wb", buffering=0) as file:
        for piece in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        os.fsync(file.fileno())
    # What the journal still held is given back once it is written.
    refused = path.with_name("refused")
    try:
        refused.mkdir()
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
    else:
        refused.rmdir()
        raise AssertionError("the disk has room for a folder")


def fill_but(path: Path, room: int) -> None:
    """Write a file that leaves so many bytes."""
    found = os.statvfs(path.parent)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - room)


def fail(folder: Path) -> None:
    """What the kernel does after an error on the disk: the file system mounted there is read-only from now on."""
    (_known_to_kernel(folder) / "trigger_fs_error").write_text("a disk of the tests' own")
    try:
        (folder / "refused").touch()
    except OSError as error:
        assert error.errno == errno.EROFS, error
    else:
        raise AssertionError("the disk can be written to")


def _known_to_kernel(folder: Path) -> Path:
    """What the kernel shows of the file system mounted there, for as long as anybody has it mounted."""
    told = ["findmnt", "-no", "SOURCE", str(folder)]
    device = subprocess.run(told, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout.strip()
    return Path("/sys/fs/ext4", Path(device).name)


def repair(folder: Path) -> None:
    """As after a restart of the machine: the journal is replayed, and what `small_disk` mounted is mounted anew."""
    image, known = folder.parent / "disk.img", _known_to_kernel(folder)
    run("umount", str(folder))
    # A namespace that somebody made meanwhile has the mount as well, until it ends. What is mounted before that is the
    # old one, read-only.
    deadline = time.monotonic() + _SECONDS
    while known.exists():
        assert time.monotonic() < deadline, f"{known} is still mounted somewhere"
        time.sleep(0.05)
    run("fsck.ext4", "-y", str(image), check=False)
    mount(image, folder)


def run(*command: str, check: bool = True) -> None:
    """A program of the system; its failure is the test's."""
    subprocess.run(command, capture_output=True, timeout=_SECONDS, check=check)
