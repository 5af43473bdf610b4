"""Which images revisions run is noted beside the environment; where that is not known, nobody removes anything."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from binderops.delivery.deployed import deployed_images, note_images
from binderops.helm.releases import KEPT_REVISIONS
from binderops.images.lockfile import ImageLock, PinnedImage


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def workspace(state: Path, name: str, *, node: bool = True) -> Any:
    return SimpleNamespace(
        environment=SimpleNamespace(target=SimpleNamespace(node=object() if node else None)),
        generated_layer=state / "environments" / name / "generated.yaml",
        image_lock=state / "images.lock.yaml",
    )


def lock(state: Path, number: int) -> None:
    ImageLock({"platform": PinnedImage("localhost/binderops/platform", digest(number))}).write(
        state / "images.lock.yaml"
    )


def deploy(state: Path, name: str, revision: int, number: int) -> None:
    lock(state, number)
    note_images(workspace(state, name), revision)


def test_every_environments_revisions_count_as_many_as_helm_keeps(tmp_path: Path) -> None:
    assert deployed_images(tmp_path) == set()
    for revision in range(1, KEPT_REVISIONS + 6):
        deploy(tmp_path, "a", revision, revision)
    deploy(tmp_path, "b", 1, 1000)
    assert deployed_images(tmp_path) == {digest(number) for number in (*range(6, KEPT_REVISIONS + 6), 1000)}
    deploy(tmp_path, "b", 1, 1000)
    assert len(deployed_images(tmp_path) or ()) == KEPT_REVISIONS + 1, "the same revision twice"


def test_a_rollback_runs_what_its_revision_ran(tmp_path: Path) -> None:
    deploy(tmp_path, "a", 1, 1)
    deploy(tmp_path, "a", 2, 2)
    note_images(workspace(tmp_path, "a"), 3, again=1)
    for revision in range(4, KEPT_REVISIONS + 3):
        deploy(tmp_path, "a", revision, 9)
    assert deployed_images(tmp_path) == {digest(1), digest(9)}


def test_what_was_never_noted_stops_everybody(tmp_path: Path) -> None:
    deploy(tmp_path, "a", 1, 1)
    (tmp_path / "environments/older").mkdir()
    assert deployed_images(tmp_path) is None
    deploy(tmp_path, "older", 7, 7)
    assert deployed_images(tmp_path) == {digest(1), digest(7)}
    note_images(workspace(tmp_path, "older"), 8, again=3)
    assert deployed_images(tmp_path) is None, "revision 3 is older than what was noted"
    deploy(tmp_path, "older", 9, 9)
    (tmp_path / "environments/older/images.json").write_text("{broken")
    assert deployed_images(tmp_path) is None


def test_a_release_that_begins_anew(tmp_path: Path) -> None:
    deploy(tmp_path, "a", 30, 30)
    deploy(tmp_path, "a", 1, 1)
    assert deployed_images(tmp_path) == {digest(1)}


def test_a_clusters_images_lie_in_a_registry(tmp_path: Path) -> None:
    lock(tmp_path, 1)
    note_images(workspace(tmp_path, "a", node=False), 1)
    assert not (tmp_path / "environments").exists()
