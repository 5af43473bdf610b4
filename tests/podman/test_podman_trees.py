"""Trees of many files, and what must not be reached from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from binderops.podman.trees import BRANCHES, branches, remove_tree


def storage(root: Path, *, layers: int) -> None:
    (root / "storage").mkdir(parents=True)
    for number in range(layers):
        folder = root / "storage" / "overlay" / f"layer{number}" / "diff" / "usr"
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    (root / "storage" / "db").write_text("x")


@pytest.mark.parametrize("layers", [0, 1, BRANCHES, 3 * BRANCHES])
def test_all_of_a_tree_goes_and_nothing_beside_it(tmp_path: Path, layers: int) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    storage(root, layers=layers)
    storage(other, layers=2)
    (root / "link").symlink_to(other)
    (root / "loop").symlink_to(root)
    remove_tree(root)
    assert not root.exists()
    assert len(list((other / "storage" / "overlay").iterdir())) == 2


def test_branches_are_the_layers_and_none_lies_in_another(tmp_path: Path) -> None:
    storage(tmp_path, layers=BRANCHES)
    assert {path.parent for path in branches(tmp_path)} == {tmp_path / "storage" / "overlay"}
    assert branches(tmp_path / "none") == []


def test_what_cannot_be_removed_is_told_or_not(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        remove_tree(tmp_path / "none")
    remove_tree(tmp_path / "none", ignore_errors=True)
