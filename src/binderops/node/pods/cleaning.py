"""Images of the node's own store: what no name leads to goes at once, the rest by a kubelet's thresholds and a budget.

The budget (`NodeConfig.image_budget`) is what the store may hold whatever the file system's size.

The images of the platform lie in a store that is shared and read-only here: they are never touched.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from binderops.errors import BinderOpsError
from binderops.node.pods import usage
from binderops.node.pods.ephemeral import Room
from binderops.node.pods.imageuses import ImageUses
from binderops.node.pods.kit import Kit
from binderops.node.reserve import Reserve

log = structlog.get_logger(__name__)

LOOK_SECONDS = 30.0
MEASURE_SECONDS = 600.0
LONGEST_MEASURE_SECONDS = 300.0
HIGH_PERCENT, LOW_PERCENT = 85, 80
"""Of the file system in use: above the first images go until the second (KubeletConfiguration's own defaults)."""
MINIMUM_AGE_SECONDS = 120.0
"""So long a new image is left alone: its pod may be about to start (imageMinimumGCAge)."""
Goal = Callable[[], Awaitable[bool]]
"""Whether enough has gone."""


class Candidate(NamedTuple):
    """An image that nothing uses, and when it was last in use (seconds since 1970)."""

    names: tuple[str, ...]
    identity: str
    used: float


class ImageCleaner:
    """Removes images that were not launched for longest."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._known: dict[str, float] = {}
        self._uses = ImageUses(kit.config.state / "image-uses.json")
        self._reserve = Reserve(kit.config.state / "reserve")
        self._measured = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look(lambda: usage.room_of(self._kit.config.state))
            except (BinderOpsError, OSError) as error:
                log.warning("images cannot be cleaned up", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, room: Callable[[], Room], *, now: float | None = None) -> None:
        """Remove what may go until there is `room` and the budget is kept. `now` in seconds since 1970."""
        now = time.time() if now is None else now
        self._reserve.look(room())
        images = [image for image in await self._kit.podman.images.list_all() if not image.get("ReadOnly")]
        unused = self._unused(images, {str(c["ImageID"]) for c in await self._kit.podman.containers.list_all()}, now)
        for image in unused:
            if not image.names:
                await self._remove(image, "no name leads to it")
        goals = [goal for goal in (room_goal(room), await self._budget_goal(now)) if goal is not None]
        for image in sorted((image for image in unused if image.names), key=lambda each: each.used):
            # Measured anew for each: others write meanwhile, and images share layers.
            if all([await goal() for goal in goals]):
                return
            await self._remove(image, "it was not launched for longest")

    def _unused(self, images: Iterable[Mapping[str, Any]], in_use: set[str], now: float) -> list[Candidate]:
        found = {str(image["Id"]): tuple(image.get("RepoTags") or image.get("RepoDigests") or ()) for image in images}
        # Of a clock that was set back: nothing is known from the future.
        self._known = {identity: min(self._known.get(identity, now), now) for identity in found}
        self._uses.see(found, in_use & found.keys(), now=now)
        return [
            Candidate(names, identity, self._uses.last(identity))
            for identity, names in found.items()
            if identity not in in_use and now - self._known[identity] >= MINIMUM_AGE_SECONDS
        ]

    async def _budget_goal(self, now: float) -> Goal | None:
        """None within the budget, or where it was measured a moment ago."""
        if 0 <= now - self._measured < MEASURE_SECONDS:
            return None
        self._measured = now
        budget = self._kit.config.image_budget
        if await self._held() <= budget:
            return None

        async def is_kept() -> bool:
            return await self._held() <= budget * 9 // 10

        return is_kept

    async def _held(self) -> int:
        layers = await asyncio.to_thread(_image_layers, self._kit.config.state / "podman" / "storage")
        sizes = await usage.sizes(layers, seconds=LONGEST_MEASURE_SECONDS)
        if sizes.keys() < {layer for layer in layers if layer.exists()}:
            log.warning(
                "the image store was not measured whole: its budget is perhaps not kept",
                path=str(self._kit.config.state / "podman" / "storage"),
                why=f"it took longer than {LONGEST_MEASURE_SECONDS:.0f} s",
            )
        return sum(sizes.values())

    async def _remove(self, image: Candidate, why: str) -> None:
        # By each name, never forced: the engine itself refuses what a container has begun to use meanwhile.
        try:
            for name in image.names or (image.identity,):
                await self._kit.podman.images.remove(name)
        except BinderOpsError as error:
            log.info("an image stays", image=image.names or image.identity, error=str(error))
            return
        log.info("removed an image", image=image.names or image.identity, why=why)


def room_goal(room: Callable[[], Room]) -> Goal | None:
    """None where less than the higher threshold is in use; else, whether less than the lower is."""
    if _used_percent(room()) <= HIGH_PERCENT:
        return None

    async def is_reached() -> bool:
        return _used_percent(room()) <= LOW_PERCENT

    return is_reached


def _used_percent(room: Room) -> float:
    return (room.size - room.free) * 100 / room.size


def _image_layers(storage: Path) -> list[Path]:
    """The folders of a store's layers without those that containers write: they count into their pods' limits.

    Source: https://github.com/containers/storage/blob/v1.43.0/containers.go
    """
    try:
        containers = json.loads((storage / "overlay-containers" / "containers.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no store yet, or one that its engine itself will complain about
        containers = []
    written = {f"{container['layer']}{end}" for container in containers for end in ("", "-init")}
    overlay = storage / "overlay"
    return [path for path in overlay.iterdir() if path.name not in written] if overlay.is_dir() else []
