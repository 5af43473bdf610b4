"""The disk's reserve is given up by pieces while the disk is full, and taken again once there is plenty."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.disks import fill, small_disk

from binderops.node.pods import usage
from binderops.node.pods.ephemeral import Room
from binderops.node.reserve import LONGEST, Reserve

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


@pytest.mark.root
def test_a_start_on_a_full_disk_begins_with_a_piece_of_it(tmp_path: Path) -> None:
    with small_disk(tmp_path, 64 << 20) as disk:
        path = disk / "reserve"
        reserve = Reserve(path)
        found = usage.room_of(disk)
        reserve.look(found)
        whole = path.stat().st_size
        reserve.begin()
        assert path.stat().st_size == whole > 0, "there is room"
        fill(disk / "filler")
        reserve.begin()
        assert path.stat().st_size == whole - (found.size // 100) // 4
        (disk / "needed").write_bytes(b"x" * 100_000)


def test_a_first_start_has_none(tmp_path: Path) -> None:
    Reserve(tmp_path / "no folder" / "reserve").begin()
    assert not list(tmp_path.iterdir())
