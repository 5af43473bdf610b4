"""The disk's reserve is given up by pieces while the disk is full, and taken again once there is plenty."""

from __future__ import annotations

from pathlib import Path

from binderops.node.pods.ephemeral import Room
from binderops.node.pods.reserve import LONGEST, Reserve

SIZE = 100 * LONGEST


def room(free: int, size: int = SIZE) -> Room:
    return Room(size=size, free=free, inodes=1, free_inodes=1)


def test_it_is_given_up_by_pieces_and_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    reserve = Reserve(path)
    reserve.look(room(SIZE // 20))
    assert not path.exists(), "there is no plenty"
    reserve.look(room(SIZE // 2))
    assert path.stat().st_blocks * 512 >= LONGEST, "on the disk, not only a length"
    reserve.look(room(LONGEST))
    assert path.stat().st_size == LONGEST
    sizes = []
    for _ in range(5):
        reserve.look(room(0))
        sizes.append(path.stat().st_size * 4 // LONGEST)
    assert sizes == [3, 2, 1, 0, 0]
    reserve.look(room(SIZE // 20))
    assert path.stat().st_size == 0
    reserve.look(room(SIZE // 2))
    assert path.stat().st_size == LONGEST


def test_of_a_small_disk_it_is_a_hundredth(tmp_path: Path) -> None:
    Reserve(tmp_path / "reserve").look(room(900_000, size=1_000_000))
    assert (tmp_path / "reserve").stat().st_size == 10_000


def test_where_it_cannot_be_taken_nothing_else_fails(tmp_path: Path) -> None:
    Reserve(tmp_path / "no folder" / "reserve").look(room(SIZE))
