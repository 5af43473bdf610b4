"""Limits of what pods keep on disk: who is over one, who goes first, what is counted."""

from __future__ import annotations

import asyncio
import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.node.pods import usage
from binderops.node.pods.ephemeral import LOW_BYTES, Room, Usage, exceeded, is_limited, victim

MEBI = 1 << 20


def pod(*limits: str | None, volumes: Any = (), requested: str = "0", priority: int = 0, name: str = "p") -> Any:
    containers = [
        {
            "name": f"c{index}",
            "resources": {
                "limits": {} if limit is None else {"ephemeral-storage": limit},
                "requests": {"ephemeral-storage": requested},
            },
        }
        for index, limit in enumerate(limits)
    ]
    return {
        "metadata": {"name": name},
        "spec": {"containers": containers, "volumes": list(volumes), "priority": priority},
    }


def empty(name: str, **more: str) -> dict[str, Any]:
    return {"name": name, "emptyDir": more}


@pytest.mark.parametrize(
    ("made", "used", "why"),
    [
        (pod("1Mi"), Usage({"c0": MEBI}), ""),
        (pod("1Mi"), Usage({"c0": MEBI + 1}), "local storage usage exceeds the total limit of containers 1Mi"),
        (pod("1Mi"), Usage({"c0": 1}, {"v": MEBI}), "total limit of containers 1Mi"),
        (pod("1Mi", "2Mi"), Usage({"c0": MEBI + 1, "c1": 0}), 'c0 exceeded its local ephemeral storage limit "1Mi"'),
        (pod("1Mi", "2Mi"), Usage({"c0": MEBI, "c1": 2 * MEBI + 1}), "total limit of containers 3145728"),
        (pod("1Mi", None), Usage({"c0": 0, "c1": 9 * MEBI}), ""),
        (pod(None, volumes=[empty("v", sizeLimit="1Mi")]), Usage({}, {"v": MEBI + 1}), 'EmptyDir volume "v" exceeds'),
        (pod(None, volumes=[empty("v")]), Usage({"c0": 99 * MEBI}, {"v": 99 * MEBI}), ""),
        (pod(None, volumes=[empty("v", sizeLimit="1Mi", medium="Memory")]), Usage({}, {"v": 2 * MEBI}), ""),
    ],
)  # fmt: skip
def test_a_limit_that_is_passed_is_named(made: Any, used: Usage, why: str) -> None:
    assert (why in exceeded(made, used)) if why else exceeded(made, used) == ""


@pytest.mark.parametrize(
    ("made", "limited"),
    [
        (pod(None), False),
        (pod(None, "1Mi"), True),
        (pod(None, volumes=[empty("v")]), False),
        (pod(None, volumes=[empty("v", sizeLimit="1Mi")]), True),
    ],
)
def test_only_what_is_limited_is_measured(made: Any, limited: bool) -> None:
    assert is_limited(made) is limited


@pytest.mark.parametrize(
    ("used", "gone"),
    [
        ([], None),
        ([("small", {}, 31 * MEBI)], None),
        ([("a", {}, 40 * MEBI), ("b", {}, 50 * MEBI)], "b"),
        ([("asked", {"requested": "60Mi"}, 50 * MEBI), ("over", {}, 40 * MEBI)], "over"),
        ([("more", {"priority": 10}, 90 * MEBI), ("less", {"priority": -10}, 40 * MEBI)], "less"),
        ([("critical", {"priority": 2_000_001_000}, 900 * MEBI)], None),
    ],
)
def test_who_goes_first_when_the_disk_is_low(used: Any, gone: str | None) -> None:
    chosen = victim((pod(None, name=name, **more), Usage({"c0": size})) for name, more, size in used)
    assert (chosen and chosen["metadata"]["name"]) == gone


def test_who_cannot_be_measured_goes_first_of_all() -> None:
    hidden, large = pod(None, name="hidden"), pod(None, name="large")
    assert victim([(large, Usage({"c0": 900 * MEBI})), (hidden, Usage({"c0": 0}, whole=False))]) is hidden


@pytest.mark.parametrize(
    ("room", "low"),
    [
        (Room(1 << 30, 200 * MEBI, 1000, 900), ""),
        (Room(1 << 30, 100 * MEBI, 1000, 900), "ephemeral-storage"),
        (Room(1 << 40, LOW_BYTES, 1000, 900), ""),
        (Room(1 << 40, LOW_BYTES - 1, 1000, 900), "ephemeral-storage"),
        (Room(1 << 30, 1 << 29, 1000, 49), "inodes"),
        (Room(1 << 30, 1 << 29, 0, 0), ""),  # btrfs counts no inodes
    ],
)
def test_when_the_disk_is_low(room: Room, low: str) -> None:
    assert (low in room.shortage) if low else not room.shortage


@given(st.dictionaries(st.sampled_from(["c0", "c1"]), st.integers(0, 1 << 40)), st.integers(1, 1 << 40))
def test_nobody_is_evicted_below_every_limit(used: dict[str, int], limit: int) -> None:
    why = exceeded(pod(str(limit), str(limit)), Usage(used))
    assert bool(why) == (any(size > limit for size in used.values()) or sum(used.values()) > 2 * limit)


async def test_folders_are_measured_on_disk_whatever_lies_in_them(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two\nlines"
    for folder in (one, two):
        folder.mkdir()
    (one / "a").write_bytes(b"x" * MEBI)
    (one / "b").hardlink_to(one / "a")
    (one / "link").symlink_to("/")
    os.truncate(os.open(one / "sparse", os.O_CREAT | os.O_WRONLY), 1 << 40)
    deep = two
    for _ in range(300):
        deep /= "d"
    deep.mkdir(parents=True)
    (deep / "c").write_bytes(b"x" * MEBI)
    found = await usage.sizes([one, two, tmp_path / "missing"])
    assert MEBI <= found[one] < MEBI + 65536
    assert MEBI <= found[two] < 4 * MEBI
    assert set(found) == {one, two}
    assert await usage.sizes([]) == {}


async def test_a_tree_that_takes_too_long_is_left(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    assert await asyncio.wait_for(usage.sizes([tmp_path], seconds=0), 10) in ({}, {tmp_path: 8192})


def test_open_files_without_a_name_count_and_those_in_memory_do_not(tmp_path: Path) -> None:
    assert tmp_path.stat().st_dev in (usage._disks(os.getpid()) or ()), "the tests' folder must be on a disk"
    before = usage.unlinked([os.getpid()]) or 0
    with tempfile.TemporaryFile(dir=tmp_path) as file, tempfile.TemporaryFile(dir="/dev/shm") as memory:
        for each in (file, memory):
            each.write(b"x" * MEBI)
            each.flush()
        again = os.dup(file.fileno())
        assert (usage.unlinked([os.getpid()]) or 0) - before == MEBI
        os.close(again)
    assert usage.unlinked([os.getpid()]) == before
    assert usage.unlinked([2**22 + 1]) == 0


def test_too_many_open_files_are_not_counted_in_part() -> None:
    assert usage.unlinked([os.getpid()], seconds=0) is None


def test_a_file_that_is_only_mapped_counts(tmp_path: Path) -> None:
    before = usage.unlinked([os.getpid()]) or 0
    descriptor = os.open(tmp_path, os.O_TMPFILE | os.O_RDWR)
    os.write(descriptor, b"x" * MEBI)
    with mmap.mmap(descriptor, MEBI):
        os.close(descriptor)
        assert (usage.unlinked([os.getpid()]) or 0) - before >= MEBI
