"""Whether a container that ended is started again, and when."""

from __future__ import annotations

from dataclasses import dataclass

INITIAL_SECONDS = 10.0
LONGEST_SECONDS = 300.0
FORGOTTEN_AFTER_SECONDS = 600.0


@dataclass
class BackOff:
    """The kubelet's back-off: 10 s, doubled at each restart up to 5 min, forgotten after 10 min without one.

    The first restart is immediate. Times are seconds of one monotonic or wall clock, as the caller likes.
    """

    initial: float = INITIAL_SECONDS
    longest: float = LONGEST_SECONDS
    delay: float = 0.0
    updated: float = 0.0

    def remaining(self, ended: float, now: float) -> float:
        """How many seconds from `now` a container that ended at `ended` has to wait (0: start it)."""
        if now - self.updated > FORGOTTEN_AFTER_SECONDS:
            return 0.0
        return max(0.0, ended + self.delay - now)

    def advance(self, now: float) -> None:
        """Note that it is started again at `now`."""
        if self.delay == 0 or now - self.updated > FORGOTTEN_AFTER_SECONDS:
            self.delay = self.initial
        else:
            self.delay = min(self.delay * 2, self.longest)
        self.updated = now

    def resume(self, restarts: int, now: float) -> None:
        """Take up what an earlier process of the node knew, as far as the number of restarts tells it."""
        if restarts > 0:
            self.delay = min(self.initial * 2.0 ** min(restarts - 1, 16), self.longest)
            self.updated = now


def restarts_after(policy: str, exit_code: int) -> bool:
    """Whether `restartPolicy` has a container started again that ended with `exit_code`."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)
