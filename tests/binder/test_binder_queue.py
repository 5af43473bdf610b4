"""The queue of builds: order, places, and people who leave it."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binderops.binder.builds.manager import _waits
from binderops.binder.builds.queue import MOST_WAITING, MOST_WAITING_OF_ONE, Queue
from binderops.errors import BuildError


class Visitors:
    """Builds by name: when they may begin, where they were told to stand, and who runs."""

    def __init__(self, limit: int) -> None:
        self.queue = Queue(limit)
        self.places: defaultdict[int, list[int]] = defaultdict(list)
        self.began: list[int] = []
        self.running: set[int] = set()
        self.most = 0
        self.ends: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self.tasks: dict[int, asyncio.Task[None]] = {}

    async def come(self, name: int) -> None:
        self.tasks[name] = asyncio.create_task(self._build(name))
        await asyncio.sleep(0)

    async def _build(self, name: int) -> None:
        async with self.queue.turn(self.places[name].append):
            self.began.append(name)
            self.running.add(name)
            self.most = max(self.most, len(self.running))
            try:
                await self.ends[name].wait()
            finally:
                self.running.discard(name)

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_places_are_told_and_change_as_others_end_or_leave() -> None:
    visitors = Visitors(1)
    for name in range(4):
        await visitors.come(name)
    assert dict(visitors.places) == {0: [], 1: [1], 2: [2], 3: [3]}
    visitors.tasks[1].cancel()
    await visitors.settle()
    assert visitors.places[2] == [2, 1] and visitors.places[3] == [3, 2]
    visitors.ends[0].set()
    await visitors.settle()
    assert visitors.began == [0, 2] and visitors.places[3] == [3, 2, 1]
    for name in (2, 3):
        visitors.ends[name].set()
        await visitors.settle()
    assert visitors.began == [0, 2, 3] and not visitors.running


async def test_a_turn_that_comes_to_somebody_who_leaves_is_passed_on() -> None:
    visitors = Visitors(1)
    for name in range(3):
        await visitors.come(name)
    visitors.ends[0].set()
    await asyncio.sleep(0)
    visitors.tasks[1].cancel()  # its turn may be there already
    await visitors.settle()
    visitors.ends[2].set()
    await visitors.settle()
    assert 2 in visitors.began and not visitors.running


async def test_one_visitor_holds_a_share_and_lets_others_go_first() -> None:
    """32 builds that never end: others still build, and the next of the first visitor's waits for one of its own."""
    queue = Queue(8)
    began: list[str] = []
    end, never = asyncio.Event(), asyncio.Event()

    async def build(name: str, visitor: str, until: asyncio.Event) -> None:
        async with queue.turn(lambda place: None, visitor=visitor):
            began.append(name)
            await until.wait()

    tasks = [asyncio.create_task(build(f"a{n}", "198.51.100.1", end if n == 0 else never)) for n in range(32)]
    await asyncio.sleep(0)
    assert began == ["a0", "a1"]
    tasks += [asyncio.create_task(build(f"b{n}", f"198.51.100.{n}", never)) for n in range(2, 7)]
    tasks += [asyncio.create_task(build("operator", "", never))]
    await asyncio.sleep(0)
    assert began[2:] == ["b2", "b3", "b4", "b5", "b6", "operator"]
    end.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert began[8:] == ["a2"], "in their order, as its share allows"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_has_left_gives_the_place_up() -> None:
    queue, end, began = Queue(1), asyncio.Event(), []
    watched = {"left": False, "stays": True}

    async def build(name: str, *, visitor: str = "") -> None:
        async with queue.turn(lambda place: None, visitor=visitor, is_wanted=lambda: watched.get(name, True)):
            began.append(name)
            if name == "first":
                await end.wait()

    tasks = {name: asyncio.create_task(build(name)) for name in ("first", "left", "stays")}
    await asyncio.sleep(0)
    end.set()
    with pytest.raises(BuildError, match="Nobody waited"):
        await tasks["left"]
    await tasks["stays"]
    assert began == ["first", "stays"]


async def test_too_many_are_refused_in_words() -> None:
    queue, told, never = Queue(1), list[int](), asyncio.Event()

    async def build(visitor: str) -> None:
        async with queue.turn(told.append, visitor=visitor):
            await never.wait()

    tasks = [asyncio.create_task(build("one")) for _ in range(1 + MOST_WAITING_OF_ONE)]
    await asyncio.sleep(0)
    with pytest.raises(BuildError, match="from your address wait already"):
        await build("one")
    tasks += [asyncio.create_task(build(str(n))) for n in range(MOST_WAITING - MOST_WAITING_OF_ONE)]
    await asyncio.sleep(0)
    with pytest.raises(BuildError, match="Too many builds wait"):
        await build("another")
    assert max(told) == MOST_WAITING
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.lists(st.tuples(st.sampled_from(["end", "leave"]), st.integers(0, 7)), max_size=20))
def test_never_more_than_the_limit_and_nobody_is_forgotten(limit: int, acts: list[tuple[str, int]]) -> None:
    async def play() -> None:
        visitors = Visitors(limit)
        for name in range(8):
            await visitors.come(name)
        for act, name in acts:
            if act == "end":
                visitors.ends[name].set()
            else:
                visitors.tasks[name].cancel()
            await visitors.settle()
        for name in range(8):
            visitors.ends[name].set()
        await asyncio.wait_for(asyncio.gather(*visitors.tasks.values(), return_exceptions=True), 5)
        assert visitors.most <= limit
        assert visitors.began == sorted(visitors.began)
        left = {name for act, name in acts if act == "leave"}
        assert {*range(8)} - left <= {*visitors.began}

    asyncio.run(play())


@pytest.mark.parametrize(("place", "text"), [(1, "place 1 in the queue, it is the next"), (3, "2 wait before it")])
def test_what_the_page_says(place: int, text: str) -> None:
    told = _waits(place)
    assert told["phase"] == "waiting" and text in told["message"]
