"""On a disk that is full to the last byte the cleaner makes room, and whoever kills it meanwhile loses nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.disks import fill, small_disk
from tests.registry.conftest import HOUR, Clock, Scene, served
from tests.registry.killed import cleaning

from binderops.errors import RegistryError
from binderops.oci.registry import Registry
from binderops.registry.budget import Thresholds
from binderops.registry.picture import look_at

pytestmark = pytest.mark.root

MEGABYTE = 1 << 20
DISK = 40 * MEGABYTE
OLD = 48.0
LAYERS = 130
"""More than a folder's first block has room for: putting so many things into one folder takes room."""
KILLS = 8
WHOLE_DISK = Thresholds("relative", 80, 60, capacity=1 << 40)
"""As the chart has it, of a volume that the disk has no room for."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, DISK) as mounted:
        yield mounted


@pytest.fixture
async def tight(tmp_path: Path, disk: Path) -> AsyncIterator[Scene]:
    """A registry whose storage lies on that disk."""
    with served(tmp_path, disk / "storage") as (host, storage, uses):
        async with Registry(host, insecure=True) as client:
            yield Scene(storage, uses, client, Clock(time.time()))


def content(size: int) -> bytes:
    return os.urandom(size)


async def test_room_is_made_where_there_is_none_for_a_folder(tight: Scene, disk: Path) -> None:
    kept = await tight.push("r2d-kept", "1", content(MEGABYTE))
    await tight.push("r2d-old", "1", content(8 * MEGABYTE), *(content(100) for _ in range(LAYERS)))
    await tight.told()
    tight.age(OLD)
    tight.used("r2d-kept", kept, hours_ago=0)
    fill(disk / "others")
    with pytest.raises(RegistryError):
        await tight.push("r2d-new", "1", content(MEGABYTE))
    with pytest.raises(OSError, match="No space") as refused:
        (tight.storage.root / "folder").mkdir()
    assert refused.value.errno == errno.ENOSPC
    cleaner = tight.cleaner_within(WHOLE_DISK)
    tight.look(cleaner)
    tight.settle(cleaner)
    assert tight.metrics.failures._value.get() == 0
    assert _free(disk) > 8 * MEGABYTE, "who did not use it for longest gave room"
    assert await tight.is_whole("r2d-kept", "1")
    assert await tight.client.head_manifest("r2d-old", "1") is None
    await tight.push("r2d-new", "1", content(MEGABYTE))
    assert await tight.is_whole("r2d-new", "1")


async def test_whoever_is_killed_while_he_makes_room_loses_nothing_that_is_in_use(tight: Scene, disk: Path) -> None:
    shared = content(MEGABYTE)
    choose = random.Random(seed := random.randrange(1 << 32))
    kept = {f"r2d-kept-{n}": await tight.push(f"r2d-kept-{n}", "1", shared, content(1000)) for n in range(4)}
    for number in range(24):
        await tight.push(f"r2d-old-{number}", "1", shared, content(300_000), content(100))
        await tight.push(f"r2d-kept-{number % 4}", f"old-{number}", shared, content(100))
    await tight.told()
    tight.age(OLD)
    for name, image in kept.items():
        tight.used(name, image, hours_ago=0)
    fill(disk / "others")
    before = _free(disk)
    for _ in range(KILLS):
        with cleaning(tight.storage.root, high=1, rest=HOUR, settle=0.05):
            await asyncio.sleep(choose.uniform(0, 0.25))
        for name in kept:
            assert await tight.is_whole(name, "1"), f"{name} (seed {seed})"
    assert _free(disk) > before, f"it never came to make room (seed {seed})"
    cleaner = tight.cleaner_within(WHOLE_DISK)
    tight.clock.now = time.time()
    tight.look(cleaner)
    tight.settle(cleaner, looks=4)
    for name in kept:
        assert await tight.is_whole(name, "1"), f"{name} (seed {seed})"
    needed = {digest for repository in look_at(tight.storage).repositories for digest in repository.needed}
    assert set(look_at(tight.storage).blobs) == needed, f"garbage is gone (seed {seed})"
    assert not list(tight.storage.root.rglob("aside"))


def _free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize
