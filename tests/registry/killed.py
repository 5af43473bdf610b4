"""A cleaner in a process of its own, as the chart's is, that is killed: by `kill -9`, at any moment."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from binderops.registry import sweeping
from binderops.registry.budget import Thresholds
from binderops.registry.cleaner import Budget, Cleaner
from binderops.registry.metrics import Metrics
from binderops.registry.storage import Storage
from binderops.registry.uses import Uses

_SECONDS = 20


@contextlib.contextmanager
def cleaning(storage: Path, *, high: float, rest: float, settle: float) -> Iterator[subprocess.Popen[str]]:
    """It cleans without a pause, until it is killed at the end. Above `high` per cent of the disk images go, down to 0.

    `rest` and `settle` in seconds: so long something is in use, and lies aside.
    """
    command = [sys.executable, "-m", "tests.registry.killed", str(storage), str(high), str(rest), str(settle)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        yield process
        assert process.poll() is None, "it ended by itself"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=_SECONDS)


def main(storage: Storage, high: float, rest: float, settle: float) -> None:
    sweeping.SETTLE_SECONDS = settle
    uses = Uses(storage)
    budget = Budget(Thresholds("relative", high, 0, capacity=1 << 40), rest=rest)
    cleaner = Cleaner(storage, budget, uses, Metrics(), clock=time.time)
    print("begins", flush=True)
    while True:
        uses.changed.set()
        cleaner.look()


if __name__ == "__main__":
    main(Storage(Path(sys.argv[1])), *map(float, sys.argv[2:]))
