"""What many read at once: each gets all of it, in groups that let others go first; nothing is left of who leaves."""

from __future__ import annotations

import asyncio

from binderops.binder.builds.feed import GROUP, MOST_BYTES, Feed
from binderops.binder.events import Event, SharedEvent, event

READERS = 10 * GROUP


async def read(feed: Feed, found: list[str]) -> None:
    async for item in feed.read(last=0):
        found.append(item["message"].strip())


async def settle() -> None:
    """As many turns of the loop as all readers need, and then some."""
    for _ in range(3 * READERS // GROUP):
        await asyncio.sleep(0)


async def test_everyone_reads_everything_and_no_turn_wakes_more_than_a_group() -> None:
    feed = Feed(kept=100)
    found: list[list[str]] = [[] for _ in range(READERS)]
    readers = [asyncio.create_task(read(feed, each)) for each in found]
    await settle()
    assert feed.readers == READERS
    feed.append(event("building", "a"))
    before, most = 0, 0
    for _ in range(3 * READERS // GROUP):
        await asyncio.sleep(0)  # whoever asks for something else has this turn
        now = sum(map(len, found))
        before, most = now, max(most, now - before)
    assert before == READERS
    assert 0 < most <= GROUP
    # The next ones come while those before are still being told.
    for text in ("b", "c"):
        feed.append(event("building", text))
        await asyncio.sleep(0)
    feed.end()
    async with asyncio.timeout(10):
        await asyncio.gather(*readers)
    assert all(each == ["a", "b", "c"] for each in found)
    assert feed.readers == 0


async def test_long_lines_are_bounded_in_bytes_and_the_last_one_stays() -> None:
    feed = Feed(kept=1000)
    for number in range(100):
        feed.append(SharedEvent(event("building", f"{number} " + "x" * (MOST_BYTES // 10))))
    feed.append(SharedEvent(event("failed", "y" * (2 * MOST_BYTES))))
    feed.end()
    assert [item["phase"] async for item in feed.read(last=1000)] == ["failed"]
    feed = Feed(kept=1000)
    for number in range(100):
        feed.append(SharedEvent(event("building", f"{number} " + "x" * (MOST_BYTES // 10))))
    feed.end()
    left = [int(item["message"].split()[0]) async for item in feed.read(last=1000)]
    assert 5 <= len(left) < 10 and left == list(range(100 - len(left), 100))


async def test_a_reader_joins_at_the_last_events_and_one_who_leaves_is_forgotten() -> None:
    feed = Feed(kept=100)
    for number in range(5):
        feed.append(event("building", str(number)))
    late = feed.read(last=2)
    assert [(await anext(late))["message"] for _ in range(2)] == ["3\n", "4\n"]
    waiting = asyncio.ensure_future(anext(late))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert (feed.readers, feed._waiting) == (0, set())
    everything: list[Event] = []
    feed.end()
    async for item in feed.read(last=100):
        everything.append(item)
    assert [item["message"] for item in everything] == [f"{number}\n" for number in range(5)]
