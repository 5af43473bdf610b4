"""Removing everything that this room keeps: what `purge` does last."""

from __future__ import annotations

import asyncio
from pathlib import Path

from binderops.images.mutex import exclusive
from binderops.images.places import ImagePlaces
from binderops.images.programs import run_program
from binderops.podman.trees import remove_tree

_WAIT_SECONDS = 60.0
_UNMOUNT_SECONDS = 60.0


async def remove_images(state: Path) -> None:
    """Remove STATE/images, after unmounting what containers/storage keeps mounted in it.

    Nodes must be stopped first: they run from this store. Raises ImageError while images are being built.
    """
    places = ImagePlaces(state)
    if not places.root.exists():
        return
    async with exclusive(places.mutex, timeout_seconds=_WAIT_SECONDS, waiting=lambda: None):
        for point in _mounted_below(places.root):
            await run_program(
                ["umount", "--lazy", str(point)],
                environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                timeout_seconds=_UNMOUNT_SECONDS,
                what=f"unmounting {point}",
            )
        await asyncio.to_thread(remove_tree, places.root)


def _mounted_below(root: Path) -> list[Path]:
    """Mount points below `root`, the deepest first. Source: proc_pid_mountinfo(5), octal escapes included."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        if point.is_relative_to(root):
            points.append(point)
    return sorted(points, key=lambda point: len(point.parts), reverse=True)
