"""The queue: a key at most once, never twice at once, later again after failures. And the page of controllers."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from binderops.node.controllers import CONTROLLERS
from binderops.node.controllers.machinery import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, Queue

A, B = ("x", "a"), ("x", "b")


async def take(queue: Queue) -> tuple[str, str]:
    return await asyncio.wait_for(queue.take(), 5)


async def test_a_key_is_queued_once() -> None:
    queue = Queue()
    for key in (A, B, A):
        queue.add(key)
    assert [await take(queue), await take(queue)] == [A, B]
    assert queue._ready.empty()


async def test_a_key_that_changes_while_it_is_synced_comes_again_afterwards() -> None:
    queue = Queue()
    queue.add(A)
    await take(queue)
    queue.add(A)
    queue.add(B)
    assert await take(queue) == B, "A is being synced, so it waits"
    queue.done(A)
    assert await take(queue) == A


async def test_the_earliest_timer_counts() -> None:
    queue = Queue()
    queue.add_after(A, 1000)
    queue.add_after(A, 0.01)
    queue.add_after(A, 500)
    assert await take(queue) == A
    queue.close()


async def test_failures_wait_longer_each_time() -> None:
    queue = Queue()
    delays = [queue.retry(A) for _ in range(40)]
    assert delays[0] <= FIRST_RETRY_SECONDS * 1.2
    assert all(later > earlier for earlier, later in zip(delays[:9:2], delays[2:9:2], strict=False))
    assert max(delays) <= LONGEST_RETRY_SECONDS * 1.2
    queue.forget(A)
    assert queue.retry(A) <= FIRST_RETRY_SECONDS * 1.2
    queue.close()


def test_the_page_names_every_controller() -> None:
    page = Path(__file__).parents[3] / "docs" / "develop" / "controllers.md"
    named = re.findall(r"^\| `([a-z-]+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert named == [controller.name for controller in CONTROLLERS]
