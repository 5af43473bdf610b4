"""The node's image store is kept small: the image that was not launched for longest goes first, none that is in use."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.disks import fill, small_disk
from tests.podman.tiny import TINY

from binderops.errors import EngineError
from binderops.node.pods.cleaning import HIGH_PERCENT, LOW_PERCENT, MINIMUM_AGE_SECONDS, ImageCleaner, room_goal
from binderops.node.pods.ephemeral import Room
from binderops.node.pods.usage import room_of
from binderops.podman import Podman


def full() -> Room:
    return Room(size=100, free=0, inodes=100, free_inodes=100)


def empty() -> Room:
    return Room(size=100, free=100, inodes=100, free_inodes=100)


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
            (folder / "podman/storage/overlay" / name.partition(":")[0] / "data").unlink(missing_ok=True)
            self.images = [i for i in self.images if name not in (i["Id"], *(i.get("RepoTags") or ()))]

        podman = SimpleNamespace(
            images=SimpleNamespace(list_all=images, remove=remove), containers=SimpleNamespace(list_all=containers)
        )
        return SimpleNamespace(podman=podman, config=SimpleNamespace(state=folder, image_budget=budget))


def image(name: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"Id": f"id-{name}", "RepoTags": [f"{name}:1"], "ReadOnly": read_only}


@pytest.mark.parametrize(
    ("before", "after", "enough"),
    [(HIGH_PERCENT, 0, None), (HIGH_PERCENT + 1, LOW_PERCENT + 1, False), (100, LOW_PERCENT, True)],
)
async def test_images_go_above_the_higher_threshold_until_the_lower(
    before: int, after: int, enough: bool | None
) -> None:
    rooms = iter([Room(100, 100 - used, 0, 0) for used in (before, after)])
    goal = room_goal(lambda: next(rooms))
    assert (await goal() if goal else None) is enough


async def test_oldest_launch_first_and_never_one_in_use_or_of_the_platform(tmp_path: Path) -> None:
    store = Store([image("new"), image("running"), image("old"), image("platform", read_only=True)])
    cleaner = ImageCleaner(store.kit(tmp_path))
    store.containers = [{"ImageID": "id-old"}, {"ImageID": "id-running"}]
    await cleaner.look(empty, now=0)
    store.containers = [{"ImageID": "id-new"}, {"ImageID": "id-running"}]
    await cleaner.look(empty, now=1000)
    store.containers = [{"ImageID": "id-running"}]
    await cleaner.look(empty, now=2000)
    assert store.removed == [], "nothing is full"
    await cleaner.look(full, now=2001)
    assert store.removed == ["old:1", "new:1"]


async def test_a_new_image_is_left_alone_even_on_a_full_disk(tmp_path: Path) -> None:
    store = Store([image("just-pulled")])
    cleaner = ImageCleaner(store.kit(tmp_path))
    await cleaner.look(full, now=0)
    await cleaner.look(full, now=MINIMUM_AGE_SECONDS - 1)
    assert store.removed == []
    await cleaner.look(full, now=MINIMUM_AGE_SECONDS)
    assert store.removed == ["just-pulled:1"]


async def test_an_image_without_a_name_goes_though_nothing_is_full(tmp_path: Path) -> None:
    store = Store([{"Id": "nameless", "RepoTags": None, "ReadOnly": False}, image("named")])
    cleaner = ImageCleaner(store.kit(tmp_path))
    await cleaner.look(empty, now=0)
    await cleaner.look(empty, now=MINIMUM_AGE_SECONDS)
    assert store.removed == ["nameless"]


async def test_above_its_budget_the_store_is_cleaned_on_a_large_disk_until_it_is_within(tmp_path: Path) -> None:
    for name in ("oldest", "older", "newest"):
        _layer(tmp_path, name)
    store = Store([image(name) for name in ("newest", "oldest", "older")])
    cleaner = ImageCleaner(store.kit(tmp_path, budget=2_500_000))
    for moment, name in enumerate(("oldest", "older", "newest")):
        store.containers = [{"ImageID": f"id-{name}"}]
        await cleaner.look(empty, now=moment)
    store.containers = []
    await cleaner.look(empty, now=1000)
    assert store.removed == ["oldest:1"]
    await cleaner.look(empty, now=2000)
    assert store.removed == ["oldest:1"], "it is within its budget"


async def test_what_containers_write_is_no_image(tmp_path: Path) -> None:
    _layer(tmp_path, "image")
    _layer(tmp_path, "written")
    containers = tmp_path / "podman/storage/overlay-containers/containers.json"
    containers.parent.mkdir()
    containers.write_text(json.dumps([{"id": "c", "layer": "written"}]))
    store = Store([image("image")])
    cleaner = ImageCleaner(store.kit(tmp_path, budget=1_500_000))
    await cleaner.look(empty, now=0)
    await cleaner.look(empty, now=1000)
    assert store.removed == []
    containers.unlink()
    await cleaner.look(empty, now=2000)
    assert store.removed == ["image:1"], "as a layer of an image it would be too much"


async def test_a_node_that_starts_anew_knows_what_was_launched_last(tmp_path: Path) -> None:
    store = Store([image("a"), image("b"), image("c")])
    cleaner = ImageCleaner(store.kit(tmp_path))
    for moment, name in enumerate("cab"):
        store.containers = [{"ImageID": f"id-{name}"}]
        await cleaner.look(empty, now=moment)
    store.containers = []
    anew = ImageCleaner(store.kit(tmp_path))
    await anew.look(empty, now=1000)
    await anew.look(full, now=2000)
    assert store.removed == ["c:1", "a:1", "b:1"]


@pytest.mark.parametrize("content", ["{", "[1]", '{"id-a": "x"}', None])
async def test_without_its_file_images_go_nonetheless(tmp_path: Path, content: str | None) -> None:
    """Unreadable, or (None) one that cannot be written either."""
    path = tmp_path / "image-uses.json"
    path.write_text(content) if content else path.mkdir()
    store = Store([image("a")])
    cleaner = ImageCleaner(store.kit(tmp_path))
    await cleaner.look(empty, now=0)
    await cleaner.look(full, now=1000)
    assert store.removed == ["a:1"]


async def test_a_clock_that_was_ahead_keeps_no_image(tmp_path: Path) -> None:
    store = Store([image("a"), image("b")])
    cleaner = ImageCleaner(store.kit(tmp_path))
    store.containers = [{"ImageID": "id-b"}]
    await cleaner.look(empty, now=1e9)
    store.containers = [{"ImageID": "id-a"}]
    await cleaner.look(empty, now=1000)
    await cleaner.look(empty, now=1100)
    store.containers = []
    await cleaner.look(full, now=2000)
    assert store.removed == ["b:1", "a:1"]


@pytest.mark.podman
@pytest.mark.root
async def test_on_a_disk_that_is_full_to_the_last_byte_the_engine_can_remove_images(tmp_path: Path) -> None:
    # Podman takes no long path for what it keeps while it runs.
    with small_disk(tmp_path, 64 << 20) as disk, tempfile.TemporaryDirectory() as short:
        engine = SmallEngine(disk, tmp_path, short)
        try:
            for name in ("old", "new"):
                engine.add(name, 4 << 20)
            cleaner = ImageCleaner(engine.kit(disk))
            await cleaner.look(lambda: room_of(disk), now=0)
            fill(disk / "others")
            with pytest.raises(EngineError, match="no space left"):
                await engine.remove("localhost/old:1")
            await cleaner.look(lambda: room_of(disk), now=1000)
            assert await engine.names() == [], "the disk is others': all that may go goes"
            assert room_of(disk).free > 8 << 20
        finally:
            engine.close()


@dataclass
class SmallEngine:
    """Podman's program on a store of its own."""

    disk: Path
    folder: Path
    short: str

    def add(self, name: str, size: int) -> None:
        content = self.folder / name
        content.mkdir()
        (content / "data").write_bytes(os.urandom(size))
        archive = self.folder / f"{name}.tar"
        subprocess.run(["tar", "-cf", str(archive), "-C", str(content), "data"], check=True, timeout=60)
        self._podman("import", str(archive), f"localhost/{name}:1")

    async def remove(self, name: str) -> None:
        await asyncio.to_thread(self._podman, "rmi", name)

    async def names(self) -> list[str]:
        return sorted(name for found in await self._images() for name in found["RepoTags"])

    def kit(self, state: Path) -> Any:
        async def none() -> list[dict[str, Any]]:
            return []

        images = SimpleNamespace(list_all=self._images, remove=self.remove)
        podman = SimpleNamespace(images=images, containers=SimpleNamespace(list_all=none))
        return SimpleNamespace(podman=podman, config=SimpleNamespace(state=state, image_budget=1 << 40))

    def close(self) -> None:
        """The engine mounts its store over itself."""
        subprocess.run(["umount", str(self.disk / "storage/overlay")], capture_output=True, timeout=60, check=False)

    async def _images(self) -> list[dict[str, Any]]:
        found = json.loads(await asyncio.to_thread(self._podman, "images", "--format", "json"))
        return [{"Id": image["Id"], "RepoTags": image["Names"]} for image in found]

    def _podman(self, *arguments: str) -> str:
        options = (
            *("--root", str(self.disk / "storage"), "--runroot", f"{self.short}/run"),
            *("--tmpdir", f"{self.short}/tmp", "--cgroup-manager=cgroupfs", "--events-backend=none"),
        )
        done = subprocess.run(["podman", *options, *arguments], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise EngineError("podman failed", why=done.stderr)
        return done.stdout


def _layer(folder: Path, name: str) -> None:
    layer = folder / "podman/storage/overlay" / name
    layer.mkdir(parents=True)
    (layer / "data").write_bytes(b"x" * 1_000_000)


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
        await cleaner.look(empty, now=0)
        await cleaner.look(full, now=1000)
        assert not await podman.images.exists("localhost/tests/spare:1")
        assert await podman.images.exists(TINY)


def _another() -> bytes:
    """An archive that no other image is made of."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("spare"))
    return content.getvalue()
