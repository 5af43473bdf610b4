"""Images leave a running registry while it holds too much: oldest use first, never one in use; the rest stays whole."""

from __future__ import annotations

import os

import pytest
from tests.registry.conftest import HOUR, Scene, until

from binderops.registry.budget import Thresholds
from binderops.registry.cleaner import REST_SECONDS
from binderops.registry.sweeping import SETTLE_SECONDS

MEGABYTE = 1 << 20
OLD = 48.0


def content(megabytes: float) -> bytes:
    return os.urandom(int(megabytes * MEGABYTE))


@pytest.mark.parametrize(
    ("held", "free", "bounds"),
    [
        (0, 1000, (80, 60)),  # a large disk: the volume is what was asked for
        (50, 50, (80, 60)),
        (40, 10, (40, 30)),  # others fill the disk: 50 is all that the registry could hold
        (40, 0, (32, 24)),
    ],
)
def test_relative_thresholds_are_of_the_volume_or_of_what_the_disk_leaves_it(
    held: int, free: int, bounds: tuple[int, int]
) -> None:
    assert Thresholds("relative", 80, 60, capacity=100).bounds(held, free) == bounds
    assert Thresholds("absolute", 4e10, 2e10, capacity=100).bounds(held, free) == (40_000_000_000, 20_000_000_000)


async def test_the_image_that_was_not_used_for_longest_goes_first(scene: Scene) -> None:
    images = {name: await scene.push(f"r2d-{name}", "c0ffee", content(1)) for name in ("a", "b", "c", "d")}
    await scene.told()
    scene.age(OLD)
    for name, hours in (("a", 20), ("b", 40), ("c", 10), ("d", 30)):
        scene.used(f"r2d-{name}", images[name], hours_ago=hours)
    cleaner = scene.cleaner(high=3.5 * MEGABYTE, low=2.5 * MEGABYTE, delay=7)
    scene.look(cleaner)
    assert [await scene.is_whole(f"r2d-{name}", "c0ffee") for name in "abcd"] == [True, False, True, False]
    assert scene.clock.pauses == [7, 7], "between removals, and only there: b's, d's, and of what the test marked"
    assert scene.metrics.removed._value.get() == 3
    scene.settle(cleaner)
    assert scene.metrics.held._value.get() < 2.6 * MEGABYTE
    assert scene.metrics.freed._value.get() > 2 * MEGABYTE
    scene.clock.now += 2 * HOUR
    scene.look(cleaner)
    scene.look(cleaner)
    assert sorted(name for name, _ in scene.storage.each_repository()) == ["r2d-a", "r2d-c"]


async def test_below_the_higher_threshold_nothing_goes(scene: Scene) -> None:
    await scene.push("r2d-a", "c0ffee", content(1))
    await scene.told()
    scene.age(OLD)
    scene.look(scene.cleaner(high=2 * MEGABYTE, low=0))
    assert await scene.is_whole("r2d-a", "c0ffee")


@pytest.mark.parametrize("ask", ["head", "get", "digest"])
async def test_an_image_that_was_asked_for_is_in_use(scene: Scene, ask: str) -> None:
    image = await scene.push("r2d-a", "c0ffee", content(1))
    await scene.push("r2d-b", "c0ffee", content(1))
    await scene.told()
    scene.age(OLD)
    if ask == "head":
        await scene.client.head_manifest("r2d-a", "c0ffee")
    else:
        await scene.client.get_manifest("r2d-a", "c0ffee" if ask == "get" else image.digest)
    link = scene.link("r2d-a", image)
    await until(lambda: link.stat().st_mtime > scene.clock.now - HOUR)
    scene.look(scene.cleaner(high=0, low=0))
    assert await scene.is_whole("r2d-a", "c0ffee")
    assert not await scene.is_whole("r2d-b", "c0ffee")
    await until(lambda: link.stat().st_mtime > scene.clock.now - HOUR)
    scene.clock.now += REST_SECONDS + HOUR
    scene.look(scene.cleaner(high=0, low=0))
    assert await scene.client.head_manifest("r2d-a", "c0ffee") is None, "its time has passed"


async def test_what_is_to_be_kept_stays(scene: Scene) -> None:
    await scene.push("local/hello", "HEAD", content(1))
    await scene.push("local/hello", "0123456789ab", content(1))
    await scene.push("binderops/notebook", "abcdef012345", content(1))
    await scene.told()
    scene.age(OLD)
    scene.look(scene.cleaner(high=0, low=0, kept=("local/*:HEAD", "*:abcdef012345")))
    assert await scene.client.tags("local/hello") == ["HEAD"]
    assert await scene.is_whole("local/hello", "HEAD")
    assert await scene.is_whole("binderops/notebook", "abcdef012345")


async def test_layers_that_others_need_do_not_count_and_stay(scene: Scene) -> None:
    base, own = content(3), content(1)
    old = await scene.push("r2d-old", "1", base)
    older = await scene.push("r2d-older", "1", base, own)
    new = await scene.push("r2d-new", "1", base)
    await scene.told()
    scene.age(OLD)
    for name, image, hours in (("older", older, 30), ("old", old, 20), ("new", new, 10)):
        scene.used(f"r2d-{name}", image, hours_ago=hours)
    cleaner = scene.cleaner(high=3.9 * MEGABYTE, low=3.3 * MEGABYTE)
    scene.look(cleaner)
    scene.settle(cleaner)
    assert await scene.client.head_manifest("r2d-older", "1") is None, "what it alone needs frees enough"
    assert await scene.is_whole("r2d-old", "1")
    assert await scene.is_whole("r2d-new", "1")


async def test_a_record_goes_before_the_image_that_it_names(scene: Scene) -> None:
    """As environments have them: who reads a record uses its image; a record without its image is worth nothing."""
    image = await scene.push("r2d-a", "c0ffee", content(1))
    record = await scene.push("r2d-a", "env-1", content(0.1), names=image.digest)
    await scene.told()
    scene.age(OLD)
    scene.used("r2d-a", image, hours_ago=40)
    scene.used("r2d-a", record, hours_ago=0)
    scene.look(scene.cleaner(high=0, low=0))
    assert sorted(await scene.client.tags("r2d-a")) == ["c0ffee", "env-1"], "the record was read just now"
    scene.used("r2d-a", record, hours_ago=30)
    scene.look(scene.cleaner(high=0.5 * MEGABYTE, low=1.05 * MEGABYTE))
    assert await scene.client.tags("r2d-a") == ["c0ffee"]


async def test_an_image_that_is_used_between_the_look_and_its_removal_stays(scene: Scene) -> None:
    first = await scene.push("r2d-a", "1", content(1))
    second = await scene.push("r2d-b", "1", content(1))
    await scene.told()
    scene.age(OLD)
    scene.used("r2d-a", first, hours_ago=60)
    scene.clock.pause = lambda seconds: os.utime(scene.link("r2d-b", second))  # type: ignore[method-assign]
    cleaner = scene.cleaner(high=0, low=0, delay=5)
    scene.look(cleaner)
    assert not await scene.is_whole("r2d-a", "1")
    assert await scene.is_whole("r2d-b", "1")


async def test_a_removed_image_can_be_pushed_again_at_once(scene: Scene) -> None:
    layer = content(1)
    await scene.push("r2d-a", "1", layer)
    await scene.told()
    scene.age(OLD)
    cleaner = scene.cleaner(high=0, low=0)
    for step in range(4):
        scene.look(cleaner, seconds=SETTLE_SECONDS if step else 0)
        assert await scene.client.head_manifest("r2d-a", "1") is None
        # Its parts are on their way out: whichever are gone, the client sends again.
        await scene.push("r2d-a", "1", layer)
        await scene.told()
        assert await scene.is_whole("r2d-a", "1")
        idle = scene.cleaner()
        scene.settle(idle)
        assert await scene.is_whole("r2d-a", "1")
        scene.age(OLD)
