"""A controller killed anywhere: no stuck order, no second account, no lost key (`make kill-lego`: 100)."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import time
from collections.abc import Callable

import pytest
from tests.lego.pebble import Pebble
from tests.lego.world import World, ingress

KILLS = int(os.environ.get("LEGO_KILLS", "10"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_killed_at_random_points(world: World, new_pebble: Callable[..., Pebble]) -> None:
    seed = int(os.environ.get("LEGO_SEED") or random.randrange(10**6))
    print(f"LEGO_SEED={seed}")
    chance = random.Random(seed)
    pebble = new_pebble(AUTHZREUSE="0", WFE_NONCEREJECT="5")
    starting = await _seconds_until_working(world)
    made = 0
    for number in range(KILLS):
        await world.client.create(
            ingress(f"web{number}", world.namespace, (f"tls{number}", [f"h{number}.example.org"]))
        )
        made += 1
        world.start()
        await asyncio.sleep(starting * 0.8 + chance.uniform(0, 1.2))
        assert world.process is not None and world.process.poll() is None, world.log()[-3000:]
        world.stop(signal.SIGKILL)
    world.start()
    pairs = await asyncio.gather(*(world.issued(f"tls{number}", seconds=60) for number in range(made)))
    assert (
        len({pair.leaf.serial_number for pair in pairs}) == made
    )  # `issued` has matched each key with its certificate

    async def clean() -> bool:
        return not await world.secrets("order") and not await world.leftovers()

    await world.until(clean)
    assert len(await world.secrets("account")) == 1
    assert len(re.findall(r"There are now \d+ accounts", pebble.log())) == 1
    placed = len(re.findall(r"There are now \d+ orders", pebble.log()))
    resumed = world.log().count("an order goes on")
    print(f"{KILLS} kills, {made} certificates, {placed} orders placed, {resumed} times an order went on")
    assert resumed > 0 or KILLS < 50, "kills never came into the middle of an order"
    assert await world.events("Failed") == []


async def _seconds_until_working(world: World) -> float:
    began = time.monotonic()
    world.start()

    async def working() -> bool:
        return "leading" in world.log()

    await world.until(working)
    world.stop(signal.SIGKILL)
    return time.monotonic() - began
