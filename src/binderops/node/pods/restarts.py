"""Whether a container that ended is started again, and when."""

from __future__ import annotations

from dataclasses import dataclass

INITIAL_SECONDS = 10.0
LONGEST_SECONDS = 300.0
FORGOTTEN_AFTER_SECONDS = 600.0


@dataclass
class BackOff:
    """The kubelet's back-off: 10 s, doubled at each restart up to 5 min, forgotten by what ran for 10 min.

    The first restart is immediate. Times are seconds of a monotonic clock. A process of
    the node that starts anew knows none, as a kubelet's: a stop and a start of the node are no crashes.
    """

    initial: float = INITIAL_SECONDS
    longest: float = LONGEST_SECONDS
    delay: float = 0.0
    updated: float = 0.0

    def remaining(self, ended: float, now: float) -> float:
        """How many seconds from `now` a container that ended at `ended` has to wait (0: start it)."""
        return 0.0 if self._forgotten(ended) else max(0.0, ended + self.delay - now)

    def advance(self, now: float, *, ended: float | None = None) -> None:
        """Note that what had ended at `ended` is started again at `now`."""
        if self.delay == 0 or self._forgotten(now if ended is None else ended):
            self.delay = self.initial
        else:
            self.delay = min(self.delay * 2, self.longest)
        self.updated = now

    def _forgotten(self, ended: float) -> bool:
        return ended - self.updated > FORGOTTEN_AFTER_SECONDS


def restarts_after(policy: str, exit_code: int) -> bool:
    """Whether `restartPolicy` has a container started again that ended with `exit_code`."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)
