"""A file that is given up where the disk is full: an engine that has no byte to write to cannot remove an image.

It writes its lists of images and layers anew beside the old ones, and fails where there is no room for that.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

log = structlog.get_logger(__name__)

LONGEST = 16 << 20
"""Bytes; on a small file system a hundredth of it."""
_PIECES = 4
_FREE_PERCENT = 5
"""Of the file system: above, what was given up is taken again."""


class _Room(Protocol):
    """A file system's size and what is free of it, in bytes."""

    @property
    def size(self) -> int: ...
    @property
    def free(self) -> int: ...


class _Found(NamedTuple):
    size: int
    free: int


class Reserve:
    """The reserve of the file system that holds `path`. It is given up in pieces: others may take each at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def look(self, room: _Room) -> None:
        """Give a piece up where less than that is free; take all where there is plenty. Never raises OSError."""
        try:
            if not self._give(room):
                self._take(room)
        except OSError as error:
            log.warning("the disk's reserve is not kept", path=str(self._path), error=str(error))

    def begin(self) -> None:
        """Before anything is written: give a piece up where the disk is full. Never raises OSError."""
        try:
            found = os.statvfs(self._path.parent)
            self._give(_Found(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize))
        except FileNotFoundError:
            return  # a node's first start
        except OSError as error:
            log.warning("the disk's reserve cannot be given up", path=str(self._path), error=str(error))

    def _give(self, room: _Room) -> bool:
        piece, held = max(1, _whole(room) // _PIECES), self._held()
        if room.free >= piece or not held:
            return False
        os.truncate(self._path, max(0, held - piece))
        log.warning("the disk is full: a piece of the reserve is given up", path=str(self._path), bytes=piece)
        return True

    def _take(self, room: _Room) -> None:
        whole = _whole(room)
        if self._held() < whole and room.free * 100 > room.size * _FREE_PERCENT + whole * 100:
            with self._path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, whole)

    def _held(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


def _whole(room: _Room) -> int:
    return min(LONGEST, room.size // 100)
