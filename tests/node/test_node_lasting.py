"""What outlives the node's process, on trees of control groups like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from binderops.node import lasting

OF_A_UNIT = "4:memory:/x\n1:name=systemd:/system.slice/binderops-n.service\n0::/system.slice/binderops-n.service\n"


def tree(root: Path, *names: str) -> Path:
    for name in names or (".",):
        (root / name).mkdir(exist_ok=True)
        for file in ("cgroup.procs", *(["cgroup.controllers"] if name in {".", "unified"} else [])):
            (root / name / file).touch()
    return root


def own(folder: Path, text: str) -> Path:
    (folder / "own").write_text(text)
    return folder / "own"


@pytest.mark.parametrize(
    ("names", "kept"),
    [((), ["."]), (("systemd", "unified", "memory"), ["systemd", "unified"]), (("systemd",), ["systemd"])],
)
def test_it_leaves_the_unit_in_the_trees_that_systemd_looks_at(
    tmp_path: Path, names: tuple[str, ...], kept: list[str]
) -> None:
    root = tree(tmp_path, *names)
    lasting.keep("n", 77, root=root, own=own(tmp_path, OF_A_UNIT))
    found = sorted(path.parent for path in root.rglob("n.lasting"))
    assert found == [root / name / "binderops" for name in kept]
    assert [(folder / "n.lasting/cgroup.procs").read_text() for folder in found] == ["77"] * len(kept)


@pytest.mark.parametrize(
    "text", ["0::/\n", "1:name=systemd:/user.slice/session-1.scope\n0::/user.slice/session-1.scope\n"]
)
def test_of_no_unit_it_stays_where_it_is(tmp_path: Path, text: str) -> None:
    root = tree(tmp_path)
    lasting.keep("n", 77, root=root, own=own(tmp_path, text))
    assert not (root / "binderops").exists()


def test_a_tree_that_takes_no_process_is_no_reason_to_fail(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "binderops").touch()
    lasting.keep("n", 77, root=root, own=own(tmp_path, OF_A_UNIT))
