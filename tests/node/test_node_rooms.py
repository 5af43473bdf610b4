from __future__ import annotations

import asyncio

import pytest

from binderops.node import rooms
from binderops.node.rooms import Room, keep_running


async def test_a_room_that_fails_is_started_again_and_cancelled_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "_FIRST_PAUSE", 0.001)
    starts = 0
    lived = asyncio.Event()

    async def fails_twice() -> None:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise RuntimeError("once more")
        lived.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(keep_running(Room("test", fails_twice)))
    async with asyncio.timeout(5):
        await lived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert starts == 3
