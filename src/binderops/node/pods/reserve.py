"""A file that is given up where the disk is full: an engine that has no byte to write to cannot remove an image.

It writes its lists of images and layers anew beside the old ones, and fails where there is no room for that.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from binderops.node.pods.ephemeral import Room

log = structlog.get_logger(__name__)

LONGEST = 16 << 20
"""Bytes; on a small file system a hundredth of it."""
_PIECES = 4
_FREE_PERCENT = 5
"""Of the file system: above, what was given up is taken again."""


class Reserve:
    """The reserve of the file system that holds `path`. It is given up in pieces: others may take each at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def look(self, room: Room) -> None:
        """Give a piece up where less than that is free; take all where there is plenty. Never raises OSError."""
        whole = min(LONGEST, room.size // 100)
        piece = max(1, whole // _PIECES)
        try:
            held = self._path.stat().st_size if self._path.exists() else 0
            if room.free < piece and held:
                os.truncate(self._path, max(0, held - piece))
                log.warning("the disk is full: a piece of the reserve is given up", path=str(self._path), bytes=piece)
            elif held < whole and room.free * 100 > room.size * _FREE_PERCENT + whole * 100:
                with self._path.open("ab") as file:
                    os.posix_fallocate(file.fileno(), 0, whole)
        except OSError as error:
            log.warning("the disk's reserve is not kept", path=str(self._path), error=str(error))
