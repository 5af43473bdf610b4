"""One build that runs, and who watches it: late joiners get the end of the log, then everything as it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from binderops.binder.builds.explain import Explanation, explain_log
from binderops.binder.builds.feed import Feed
from binderops.binder.builds.manifest import BuildRequest
from binderops.binder.events import Event, SharedEvent, has_failed

# A reader that is slower than this many events loses lines of the log, never the outcome.
_SLOWEST = 1000
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
        self.is_left = False
        """Whether its pod stays, with what it built: for the next who asks, or the cleaner, to store."""
        self._tail = tail
        self._feed = Feed(kept=max(tail, _SLOWEST))
        self._messages: deque[str] = deque(maxlen=_EXPLAINED)
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def publish(self, item: Event) -> None:
        """Give one event to everyone; its frame is made here, once."""
        item = SharedEvent(item)
        self.has_failed = self.has_failed or has_failed(item)
        self._messages.append(str(item.get("message", ""))[:_LONGEST_EXPLAINED])
        self._feed.append(item)

    def finish(self, built: bool, message: str = "") -> None:
        """End the build for everyone, once."""
        if self._outcome.done():
            return
        explanation = None if built else explain_log([*self._messages, message])
        self._outcome.set_result(Outcome(built, message, explanation))
        self._feed.end()

    @property
    def watchers(self) -> int:
        """How many watch it now."""
        return self._feed.readers

    @property
    def is_over(self) -> bool:
        """Whether the outcome is known."""
        return self._outcome.done()

    @property
    def explanation(self) -> Explanation:
        """What the log so far means, if it failed."""
        return explain_log(self._messages)

    def watch(self) -> AsyncIterator[Event]:
        """The end of the log so far, then each event until the build is over."""
        return self._feed.read(last=self._tail)

    async def outcome(self) -> Outcome:
        """How it ended; waits. A watcher that leaves does not end it for others."""
        return await asyncio.shield(self._outcome)
