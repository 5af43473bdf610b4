"""The node's image store is kept small: the image that was not launched for longest goes first, none that is in use."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.podman.tiny import TINY

from binderops.node.pods.cleaning import HIGH_PERCENT, LOW_PERCENT, MINIMUM_AGE_SECONDS, ImageCleaner, excess_of
from binderops.node.pods.ephemeral import Room
from binderops.podman import Podman

FULL = Room(size=100, free=0, inodes=100, free_inodes=100)
EMPTY = Room(size=100, free=100, inodes=100, free_inodes=100)


@dataclass
class Store:
    """An engine's images and containers, as the cleaner sees them."""

    images: list[dict[str, Any]]
    containers: list[dict[str, Any]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def kit(self, folder: Path, *, budget: int = 1 << 40) -> Any:
        async def images() -> list[dict[str, Any]]:
            return self.images

        async def containers() -> list[dict[str, Any]]:
            return self.containers

        async def remove(name: str) -> None:
            self.removed.append(name)
            self.images = [i for i in self.images if name not in (i["Id"], *(i.get("RepoTags") or ()))]

        podman = SimpleNamespace(
            images=SimpleNamespace(list_all=images, remove=remove), containers=SimpleNamespace(list_all=containers)
        )
        return SimpleNamespace(podman=podman, config=SimpleNamespace(state=folder, image_budget=budget))


def image(name: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"Id": f"id-{name}", "RepoTags": [f"{name}:1"], "ReadOnly": read_only}


@pytest.mark.parametrize(
    ("used", "excess"), [(0, 0), (80, 0), (HIGH_PERCENT, 0), (86, 86 - LOW_PERCENT), (100, 100 - LOW_PERCENT)]
)
def test_images_go_above_the_higher_threshold_until_the_lower(used: int, excess: int) -> None:
    assert excess_of(Room(100, 100 - used, 0, 0)) == excess


async def test_oldest_launch_first_and_never_one_in_use_or_of_the_platform(tmp_path: Path) -> None:
    store = Store([image("new"), image("running"), image("old"), image("platform", read_only=True)])
    cleaner = ImageCleaner(store.kit(tmp_path))
    store.containers = [{"ImageID": "id-old"}, {"ImageID": "id-running"}]
    await cleaner.look(EMPTY, now=0)
    store.containers = [{"ImageID": "id-new"}, {"ImageID": "id-running"}]
    await cleaner.look(EMPTY, now=1000)
    store.containers = [{"ImageID": "id-running"}]
    await cleaner.look(EMPTY, now=2000)
    assert store.removed == [], "nothing is full"
    await cleaner.look(FULL, now=2001)
    assert store.removed == ["old:1", "new:1"]


async def test_a_new_image_is_left_alone_even_on_a_full_disk(tmp_path: Path) -> None:
    store = Store([image("just-pulled")])
    cleaner = ImageCleaner(store.kit(tmp_path))
    await cleaner.look(FULL, now=0)
    await cleaner.look(FULL, now=MINIMUM_AGE_SECONDS - 1)
    assert store.removed == []
    await cleaner.look(FULL, now=MINIMUM_AGE_SECONDS)
    assert store.removed == ["just-pulled:1"]


async def test_an_image_without_a_name_goes_though_nothing_is_full(tmp_path: Path) -> None:
    store = Store([{"Id": "nameless", "RepoTags": None, "ReadOnly": False}, image("named")])
    cleaner = ImageCleaner(store.kit(tmp_path))
    await cleaner.look(EMPTY, now=0)
    await cleaner.look(EMPTY, now=MINIMUM_AGE_SECONDS)
    assert store.removed == ["nameless"]


async def test_above_its_budget_the_store_is_cleaned_on_a_large_disk_too(tmp_path: Path) -> None:
    layers = tmp_path / "podman" / "storage" / "overlay"
    layers.mkdir(parents=True)
    (layers / "layer").write_bytes(b"x" * 3_000_000)
    store = Store([image("large")])
    cleaner = ImageCleaner(store.kit(tmp_path, budget=1_000_000))
    await cleaner.look(EMPTY, now=0)
    await cleaner.look(EMPTY, now=1000)
    assert store.removed == ["large:1"]
    within = Store([image("small")])
    cleaner = ImageCleaner(within.kit(tmp_path, budget=10_000_000))
    await cleaner.look(EMPTY, now=0)
    await cleaner.look(EMPTY, now=1000)
    assert within.removed == []


@pytest.mark.podman
@pytest.mark.root
async def test_the_engine_itself_keeps_what_a_container_has_begun_to_use(
    node: Any, make: Any, wait_for: Any, tmp_path: Path
) -> None:
    await make("uses-it", "sleep 1000")
    await wait_for("uses-it", lambda pod: pod["status"].get("phase") == "Running")
    async with Podman(node.socket) as podman:
        await podman.images.import_archive(_another(), reference="localhost/tests/spare:1")

        async def none() -> list[dict[str, Any]]:
            return []

        blind = SimpleNamespace(images=podman.images, containers=SimpleNamespace(list_all=none))
        kit: Any = SimpleNamespace(podman=blind, config=SimpleNamespace(state=tmp_path, image_budget=1 << 40))
        cleaner = ImageCleaner(kit)
        await cleaner.look(EMPTY, now=0)
        await cleaner.look(FULL, now=1000)
        assert not await podman.images.exists("localhost/tests/spare:1")
        assert await podman.images.exists(TINY)


def _another() -> bytes:
    """An archive that no other image is made of."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("spare"))
    return content.getvalue()
