"""One build that runs, and who watches it: late joiners get the end of the log, then everything as it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from binderops.binder.builds.explain import Explanation, explain_log
from binderops.binder.builds.manifest import BuildRequest
from binderops.binder.events import Event, SharedEvent, has_failed

# A reader that is slower than this many events loses lines of the log, never the outcome.
_QUEUE = 1000
# Explanations look at more of the log than a late joiner gets.
_EXPLAINED = 400
_LONGEST_EXPLAINED = 2000


@dataclass(frozen=True)
class Outcome:
    """How a build ended."""

    built: bool
    message: str = ""
    explanation: Explanation | None = None


class RunningBuild:
    """A build's log and outcome, given to any number of watchers."""

    def __init__(self, request: BuildRequest, *, tail: int) -> None:
        self.request = request
        self.has_failed = False
        self.pod_uid = ""
        self.place = ""
        self.digest = ""
        self._tail: deque[Event] = deque(maxlen=tail)
        self._messages: deque[str] = deque(maxlen=_EXPLAINED)
        self._watchers: set[asyncio.Queue[Event | None]] = set()
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def publish(self, item: Event) -> None:
        """Give one event to everyone; its frame is made here, once."""
        item = SharedEvent(item)
        self.has_failed = self.has_failed or has_failed(item)
        self._tail.append(item)
        self._messages.append(str(item.get("message", ""))[:_LONGEST_EXPLAINED])
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(item)

    def finish(self, built: bool, message: str = "") -> None:
        """End the build for everyone, once."""
        if self._outcome.done():
            return
        explanation = None if built else explain_log([*self._messages, message])
        self._outcome.set_result(Outcome(built, message, explanation))
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)

    @property
    def watchers(self) -> int:
        """How many watch it now."""
        return len(self._watchers)

    @property
    def is_over(self) -> bool:
        """Whether the outcome is known."""
        return self._outcome.done()

    @property
    def explanation(self) -> Explanation:
        """What the log so far means, if it failed."""
        return explain_log(self._messages)

    async def watch(self) -> AsyncIterator[Event]:
        """The end of the log so far, then each event until the build is over."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_QUEUE)
        earlier = list(self._tail)
        self._watchers.add(queue)
        try:
            for item in earlier:
                yield item
            while not (self._outcome.done() and queue.empty()):
                following = await queue.get()
                if following is None:
                    return
                yield following
        finally:
            self._watchers.discard(queue)

    async def outcome(self) -> Outcome:
        """How it ended; waits. A watcher that leaves does not end it for others."""
        return await asyncio.shield(self._outcome)
