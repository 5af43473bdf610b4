"""Images of earlier sources go, the oldest first; what a deployment, a container or a pulled image stands on stays."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.images.test_images_podman import _nothing, project, run, state

from binderops.images import ImagePlaces, MachineSettings, build_images
from binderops.images.definitions import Sources
from binderops.images.engine import ImageEngine
from binderops.images.progress import ImageProgress, Reporter
from binderops.images.pruning import Store, prune, removable, stood_on

__all__ = ["project", "state"]

NAME = "localhost/binderops/"


def stored(root: Path, images: list[dict[str, Any]], layers: dict[str, str]) -> Path:
    """A store's files: images by id, layers with their parents, each of 100 bytes."""
    for folder in ("overlay-images", "overlay-layers"):
        (root / folder).mkdir(parents=True)
    (root / "overlay-images/images.json").write_text(json.dumps(images))
    entries = [{"id": name, "parent": parent, "diff-size": 100} for name, parent in layers.items()]
    (root / "overlay-layers/layers.json").write_text(json.dumps(entries))
    return root


def image(name: str, layer: str, created: int, *tags: str) -> dict[str, Any]:
    names = [f"{NAME}{tag}" for tag in tags]
    return {
        "id": name,
        "names": names,
        "digest": f"sha256:{name}",
        "layer": layer,
        "created": f"2026-01-{created:02}T00:00:00Z",
    }


IMAGES = [
    image("root", "r", 1, "debian:1"),
    image("base", "b", 2, "base:1", "base:latest"),
    image("third", "p3", 5, "platform:3", "platform:latest"),
    image("second", "p2", 4, "platform:2"),
    image("first", "p1", 3, "platform:1"),
    image("step", "s", 3),
]
LAYERS = {"r": "", "b": "r", "p1": "b", "p2": "b", "p3": "b", "s": "b"}


def test_the_oldest_goes_first_and_never_what_the_present_ones_start_from(tmp_path: Path) -> None:
    store = Store.read(stored(tmp_path, IMAGES, LAYERS))
    assert store.held == 600
    assert removable(store, deployed=(), used=(), now=()) == ["first", "second"]
    assert removable(store, deployed=(), used=(), now=(f"{NAME}platform:1",)) == ["second"]
    assert removable(store, deployed=("sha256:second",), used=(), now=()) == ["first"]


def test_what_a_node_stands_on_stays(tmp_path: Path) -> None:
    store = Store.read(stored(tmp_path / "images/storage", IMAGES, LAYERS))
    stored(
        tmp_path / "nodes/a/podman/storage",
        [image("r2d", "own", 6)],
        {"own": "p1", "container": "own", "of-the-base": "b"},
    )
    used = stood_on(tmp_path)
    assert used == {"p1", "b"}
    assert removable(store, deployed=(), used=used, now=()) == ["second"]
    assert stood_on(tmp_path / "elsewhere") == set()


@pytest.mark.podman
@pytest.mark.root
async def test_with_the_real_engine(
    state: Path, project: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("binderops.images.building.prepare_build_base", _nothing)

    async def build(content: str, **options: Any) -> str:
        (project.root / "images/platform/content").write_text(content)
        told: list[ImageProgress] = []
        await build_images(state, progress=told.append, settings=MachineSettings(), sources=project, **options)
        gone.extend(event.image for event in told if event.state == "removed")
        digest = await engine.digest("localhost/binderops/platform:latest")
        assert digest
        return digest

    gone: list[str] = []
    engine = ImageEngine(ImagePlaces(state))
    digests = [await build(content) for content in ("one", "two", "three", "four")]
    monkeypatch.setattr("binderops.images.pruning.BUDGET_BYTES", 0)
    monkeypatch.setattr("binderops.images.building.prune", _of_nothing)
    # The second runs on a node, the third may be rolled back to.
    node = tmp_path / "state/nodes/n/podman"
    node.mkdir(parents=True)
    (node / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{node}/storage"\nrunroot = "{tmp_path}/run"\n'
        f'[storage.options]\nadditionalimagestores = ["{state}/images/storage"]\n'
    )
    environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(node / "storage.conf")}
    try:
        created = run(["podman", "create", f"localhost/binderops/platform@{digests[1]}", "/x"], environment)
        assert created.returncode == 0, created.stderr
        await build("five")
        assert gone == [], "what is deployed is not known"
        await build("six", deployed={digests[2]})
        assert len(gone) == 3, "the first, the fourth, the fifth"
        names = {name for each in Store.read(state / "images/storage").images for name in each.names}
        assert len([name for name in names if "/platform:" in name]) == 4, "two that are in use, the present, latest"
        assert set((await _how(state, project)).values()) == {"kept"}
        assert run(["podman", "rm", created.stdout.decode().strip()], environment).returncode == 0
        assert await engine.digest("localhost/binderops/debian:latest") is None
    finally:
        run(["umount", f"{node}/storage/overlay"])


async def _of_nothing(engine: ImageEngine, **options: Any) -> list[str]:
    return await prune(engine, **options, budget=0)


async def _how(state: Path, project: Sources) -> dict[str, str]:
    told: list[ImageProgress] = []
    await build_images(state, progress=told.append, settings=MachineSettings(), sources=project)
    return {event.image: event.state for event in told}


@pytest.mark.podman
@pytest.mark.root
async def test_below_the_budget_nothing_goes(state: Path, project: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("binderops.images.building.prepare_build_base", _nothing)
    await _how(state, project)
    (project.root / "images/platform/content").write_text("two")
    await _how(state, project)
    engine = ImageEngine(ImagePlaces(state))
    assert await prune(engine, deployed=(), now=(), reporter=Reporter(lambda _: None)) == []
