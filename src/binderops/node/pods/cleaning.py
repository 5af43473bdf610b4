"""Images of the node's own store: what no name leads to goes at once, the rest by a kubelet's thresholds and a budget.

The budget (`NodeConfig.image_budget`) is what the store may hold whatever the file system's size.

The images of the platform lie in a store that is shared and read-only here: they are never touched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import structlog

from binderops.errors import BinderOpsError
from binderops.node.pods import usage
from binderops.node.pods.ephemeral import Room
from binderops.node.pods.kit import Kit

log = structlog.get_logger(__name__)

LOOK_SECONDS = 30.0
MEASURE_SECONDS = 600.0
HIGH_PERCENT, LOW_PERCENT = 85, 80
"""Of the file system in use: above the first images go until the second (KubeletConfiguration's own defaults)."""
MINIMUM_AGE_SECONDS = 120.0
"""So long a new image is left alone: its pod may be about to start (imageMinimumGCAge)."""


class Candidate(NamedTuple):
    """An image that nothing uses: since when it is known, and when it was last in use (seconds, monotonic)."""

    names: tuple[str, ...]
    identity: str
    known: float
    used: float


class ImageCleaner:
    """Removes images that were not launched for longest. What it knows of use begins when the node starts."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._known: dict[str, float] = {}
        self._used: dict[str, float] = {}
        self._measured = -MEASURE_SECONDS

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look(usage.room_of(self._kit.config.state))
            except (BinderOpsError, OSError) as error:
                log.warning("images cannot be cleaned up", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, room: Room, *, now: float | None = None) -> None:
        """Remove what may go, as far as `room` or the budget asks for it. `now` is in monotonic seconds."""
        now = time.monotonic() if now is None else now
        images = [image for image in await self._kit.podman.images.list_all() if not image.get("ReadOnly")]
        unused = self._unused(images, {str(c["ImageID"]) for c in await self._kit.podman.containers.list_all()}, now)
        nameless = [image for image in unused if not image.names]
        for image in nameless:
            await self._remove(image, "no name leads to it")
        excess = max(excess_of(room), await self._over_budget(now))
        for image in sorted((image for image in unused if image.names), key=lambda each: each.used):
            if excess <= 0:
                return
            before = usage.room_of(self._kit.config.state).free
            await self._remove(image, "it was not launched for longest")
            excess -= max(0, usage.room_of(self._kit.config.state).free - before)

    def _unused(self, images: Iterable[Mapping[str, Any]], in_use: set[str], now: float) -> list[Candidate]:
        found = {str(image["Id"]): tuple(image.get("RepoTags") or image.get("RepoDigests") or ()) for image in images}
        self._known = {identity: self._known.get(identity, now) for identity in found}
        self._used = {i: now if i in in_use else self._used.get(i, self._known[i]) for i in found}
        return [
            Candidate(names, identity, self._known[identity], self._used[identity])
            for identity, names in found.items()
            if identity not in in_use and now - self._known[identity] >= MINIMUM_AGE_SECONDS
        ]

    async def _over_budget(self, now: float) -> int:
        if now - self._measured < MEASURE_SECONDS:
            return 0
        self._measured = now
        store = self._kit.config.state / "podman" / "storage" / "overlay"
        held = (await usage.sizes([store])).get(store, 0)
        budget = self._kit.config.image_budget
        return held - budget * 9 // 10 if held > budget else 0

    async def _remove(self, image: Candidate, why: str) -> None:
        # By each name, never forced: the engine itself refuses what a container has begun to use meanwhile.
        try:
            for name in image.names or (image.identity,):
                await self._kit.podman.images.remove(name)
        except BinderOpsError as error:
            log.info("an image stays", image=image.names or image.identity, error=str(error))
            return
        log.info("removed an image", image=image.names or image.identity, why=why)


def excess_of(room: Room) -> int:
    """How many bytes have to go for the file system to be below the lower threshold again; 0 below the higher."""
    used = room.size - room.free
    return used - room.size * LOW_PERCENT // 100 if used * 100 > room.size * HIGH_PERCENT else 0
