"""Images of earlier sources go, the oldest first, while the machine's image store holds more than its budget.

Never one that is in use: that a recorded deployment of any environment names, that a node's container or pulled image
stands on, or that one of those starts from. The store is read as containers/storage keeps it
(https://github.com/containers/storage/blob/v1.43.0/images.go, layers.go): no engine knows what others' stores stand on.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binderops.errors import ImageError
from binderops.images.engine import ImageEngine
from binderops.images.progress import Reporter

BUDGET_BYTES = 10 << 30
"""What the store may hold, uncompressed; above it images go until nine tenths of it."""
_REMOVE_SECONDS = 300.0


@dataclass(frozen=True)
class StoredImage:
    """One image of a store; without a name it is a step of a build, kept for the next one."""

    id: str
    names: tuple[str, ...]
    digests: frozenset[str]
    layer: str
    created: str


@dataclass(frozen=True)
class Store:
    """A store of containers/storage, as its files tell it."""

    images: tuple[StoredImage, ...]
    parents: dict[str, str]
    sizes: dict[str, int]

    @classmethod
    def read(cls, root: Path) -> Store:
        """The store at `root`; empty where there is none. Raises ImageError for what cannot be read."""
        images = tuple(
            StoredImage(
                id=str(entry["id"]),
                names=tuple(entry.get("names") or ()),
                digests=frozenset(filter(None, (entry.get("digest"), *(entry.get("big-data-digests") or {}).values()))),
                layer=str(entry.get("layer") or ""),
                created=str(entry.get("created") or ""),
            )
            for entry in _entries(root / "overlay-images" / "images.json")
        )
        layers = [
            entry
            for name in ("layers.json", "volatile-layers.json")
            for entry in _entries(root / "overlay-layers" / name)
        ]
        parents = {str(entry["id"]): str(entry.get("parent") or "") for entry in layers}
        return cls(images, parents, {str(entry["id"]): int(entry.get("diff-size") or 0) for entry in layers})

    @property
    def held(self) -> int:
        """Bytes of all layers."""
        return sum(self.sizes.values())

    def chain(self, layer: str) -> Iterator[str]:
        """A layer and those below it."""
        while layer and layer in self.parents:
            yield layer
            layer = self.parents[layer]


def stood_on(state: Path) -> set[str]:
    """Layers of other stores that the nodes' own stores stand on: their containers, and the images that they pulled."""
    found: set[str] = set()
    for root in state.glob("nodes/*/podman/storage"):
        store = Store.read(root)
        found |= {parent for parent in store.parents.values() if parent and parent not in store.parents}
    return found


def removable(store: Store, *, deployed: Collection[str], used: Collection[str], now: Collection[str]) -> list[str]:
    """Ids of named images that may go, the oldest first; `now` are names that stay, as do digests in `deployed`."""
    kept = [
        image
        for image in store.images
        if image.digests & set(deployed) or any(name in now or name.endswith(":latest") for name in image.names)
    ]
    needed = {layer for image in kept for layer in store.chain(image.layer)}
    kept_ids = {image.id for image in kept}
    return [
        image.id
        for image in sorted(store.images, key=lambda image: image.created)
        if image.names
        and image.id not in kept_ids
        # Its own top layer: what a kept image starts from frees nothing, and would be built anew.
        and image.layer not in needed
        and not (set(store.chain(image.layer)) - needed) & set(used)
    ]


async def prune(
    engine: ImageEngine,
    *,
    deployed: Collection[str],
    now: Collection[str],
    reporter: Reporter,
    budget: int = BUDGET_BYTES,
) -> list[str]:
    """Remove images until the store is below its budget; the names of those that went.

    What cannot be removed stays, and is told: a command must not fail by what it cleans up.
    """
    removed: list[str] = []
    places = engine.places
    if Store.read(places.storage).held <= budget:
        return removed
    used = stood_on(places.state)
    await _remove(engine, ["image", "prune", "--force"], reporter, "steps of builds that broke off")
    for identity in removable(Store.read(places.storage), deployed=deployed, used=used, now=now):
        store = Store.read(places.storage)
        if store.held <= budget * 9 // 10:
            break
        names = next((image.names for image in store.images if image.id == identity), ())
        if names and await _remove(engine, ["rmi", *names], reporter, names[0]):
            reporter.tell(_short(names), "removed")
            removed += names
    return removed


async def _remove(engine: ImageEngine, arguments: list[str], reporter: Reporter, what: str) -> bool:
    try:
        await engine.podman(*arguments, what=f"removing {what}", timeout_seconds=_REMOVE_SECONDS)
    except ImageError as error:
        reporter.tell("images", "building", f"{what} stays: {error.why or error.what}")
        return False
    return True


def _short(names: Iterable[str]) -> str:
    return next(iter(names)).rpartition("/")[2]


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ImageError("a store of images cannot be read", where=str(path), why=str(error)) from error
    return [entry for entry in document or [] if isinstance(entry, dict) and "id" in entry]
