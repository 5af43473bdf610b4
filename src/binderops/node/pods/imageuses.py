"""When each image of the node's own store was last in use: kept in a file, so that a node that starts anew knows."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import structlog

from binderops.node.files import write_whole

log = structlog.get_logger(__name__)

WRITE_SECONDS = 600.0
"""So often the file is written where only time has passed: what runs is in use for hours."""


class ImageUses:
    """Last uses by the image's id, in seconds since 1970. Without its file the order alone is lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._used = _read(path)
        self._in_use: frozenset[str] = frozenset()
        self._written = 0.0
        self._told = False

    def see(self, present: Collection[str], in_use: Collection[str], *, now: float) -> None:
        """Note what the store holds and what containers use now; a new image counts as used now."""
        # Of a clock that was wrong: no use lies in the future.
        used = {image: now if image in in_use else min(self._used.get(image, now), now) for image in present}
        changed = used.keys() != self._used.keys() or self._in_use != frozenset(in_use)
        self._used, self._in_use = used, frozenset(in_use)
        if changed or not 0 <= now - self._written < WRITE_SECONDS:
            self._write(now)

    def last(self, image: str) -> float:
        """Of an image that was seen."""
        return self._used[image]

    def _write(self, now: float) -> None:
        try:
            write_whole(self._path, json.dumps(self._used), durable=False)
        except OSError as error:  # a full disk is no reason not to make room
            if not self._told:
                log.warning("the images' last uses cannot be written down", path=str(self._path), error=str(error))
            self._told = True
            return
        self._written, self._told = now, False


def _read(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(image): float(used) for image, used in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("the images' last uses cannot be read", path=str(path), error=str(error))
        return {}
