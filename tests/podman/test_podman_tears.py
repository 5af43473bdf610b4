"""Images that a power cut tore are told from whole ones, by a real engine's store."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.podman.tiny import TINY

from binderops.podman import EngineSettings, command
from binderops.podman.commands import run
from binderops.podman.tears import Restarts, make_removable, torn_images

pytestmark = [pytest.mark.podman, pytest.mark.root]

CHILD = "localhost/child:1"
CONTENT = "all of it"


@pytest.fixture
async def store(engine: EngineSettings, tmp_path: Path) -> AsyncIterator[Path]:
    """The store's folder; in it an image that stands on another."""
    (tmp_path / "Containerfile").write_text(f"FROM {TINY}\nCOPY content /content\n")
    (tmp_path / "content").write_text(CONTENT)
    words = ("build", "--quiet", "--network", "none", "--tag", CHILD, str(tmp_path))
    await run(command(engine, *words), environment=engine.environment(), timeout=60)
    yield engine.storage
    # It can be removed then, and those that are whole stay so.
    make_removable(engine.storage)
    await run(command(engine, "rmi", "--force", CHILD), environment=engine.environment(), timeout=60)
    assert not torn_images(engine.storage, files=True)
    assert all(
        (engine.storage / "overlay/l" / link.read_text()).is_dir() for link in engine.storage.glob("overlay/*/link")
    )
    assert [image for image in _read(engine.storage / "overlay-images/images.json") if TINY in image["names"]]


def _read(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_bytes())
    return found


def _child(store: Path) -> dict[str, Any]:
    return next(image for image in _read(store / "overlay-images/images.json") if CHILD in (image.get("names") or []))


def _empty(path: Path) -> None:
    assert path.stat().st_size
    path.write_bytes(b"")


def _config(store: Path) -> Path:
    child = _child(store)
    files = Path(store, "overlay-images", child["id"]).glob("=*")
    return max(files, key=lambda path: path.stat().st_size)


def _layer(store: Path) -> Path:
    return Path(store, "overlay", _child(store)["layer"])


TEARS: dict[str, tuple[Callable[[Path], None], bool, str]] = {
    "lower": (lambda store: _empty(_layer(store) / "lower"), False, "does not name the layers below it"),
    "link": (lambda store: _empty(_layer(store) / "link"), False, "has no link"),
    "config": (lambda store: _empty(_config(store)), False, "has 0 bytes instead of"),
    "manifest": (lambda store: (_config(store).parent / "manifest").unlink(), False, "its manifest is missing"),
    "empty file": (lambda store: _empty(_layer(store) / "diff/content"), True, "/content of layer .* has 0 bytes"),
    "lost file": (lambda store: (_layer(store) / "diff/content").unlink(), True, "/content of layer .* is missing"),
}


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_image_is_told(store: Path, tear: str) -> None:
    assert torn_images(store, files=True) == {}
    damage, by_files_only, why = TEARS[tear]
    damage(store)
    found = torn_images(store, files=True)
    assert list(found) == [_child(store)["id"]], "and the one that it stands on is whole"
    assert re.search(why, found[_child(store)["id"]])
    assert bool(torn_images(store)) is not by_files_only


def test_there_may_be_no_store(tmp_path: Path) -> None:
    assert torn_images(tmp_path, files=True) == {}


def test_a_restart_of_the_machine_is_seen_once(tmp_path: Path) -> None:
    note = tmp_path / "boot-id"
    assert Restarts(note, "one").seen()
    Restarts(note, "one").note()
    assert not Restarts(note, "one").seen()
    assert Restarts(note, "two").seen()
    assert Restarts(note).seen(), "the kernel's own is another"
