"""Files of the node's own, written whole or not at all: who reads, and whatever crashes, sees the old or the new."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_POLL = 0.02  # seconds
LOCK_SECONDS = 10.0


def write_whole(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Write a file for its owner alone, by rename; several may at once: the last one's stays.

    With `durable` a power cut leaves no half of it. Raises OSError that names `path`; nothing else is left then.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        _remove_left(path)
        handle, fresh = tempfile.mkstemp(prefix=f".{path.name}.{os.getpid()}.", suffix=".new", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                if durable:
                    stream.flush()
                    os.fsync(handle)
            Path(fresh).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(fresh).unlink()
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def locked(folder: Path, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Be the only process that reads and writes files of a folder which all take this lock for; it leaves no file.

    Blocks; raises TimeoutError after so many seconds.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + seconds
        while not _take(handle):
            if time.monotonic() > end:
                why = f"another process held the folder's lock for {seconds:.1f} s"
                raise TimeoutError(errno.ETIMEDOUT, why, str(folder))
            time.sleep(_POLL)
        yield
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_left(path: Path) -> None:
    """Remove what processes that crashed left of this file (an earlier release's has no process id in its name)."""
    left = re.compile(rf"\.{re.escape(path.name)}\.(?:(\d+)\.[^.]+\.)?new")
    for entry in path.parent.iterdir():
        found = left.fullmatch(entry.name)
        if found and not (found[1] and Path("/proc", found[1]).exists()):
            entry.unlink(missing_ok=True)
