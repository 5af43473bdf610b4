"""What many ask for at once is asked once: a link in a lecture is clicked by everybody in the room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Sharing:
    """Questions under way, by what they ask; whoever asks the same meanwhile gets the same answer, or error.

    Nothing is kept: who asks after the answer came asks anew.
    """

    def __init__(self) -> None:
        self._asking: dict[object, asyncio.Task[Any]] = {}

    async def ask(self, key: object, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer of `question`, or of the one under way for `key`. One asker who leaves does not end it."""
        task: asyncio.Task[T] | None = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(question())
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)

    def _answered(self, key: object, task: asyncio.Task[Any]) -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # seen, even if everyone has left
