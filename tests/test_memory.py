"""Memory that a process needs no more goes back to the machine, also what only a whole collection finds."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """\
import asyncio, gc, weakref
from binderops import memory

class Held:
    def __init__(self):
        self.itself, self.content = self, [b"x" * 100_000 for _ in range(500)]

async def main():
    memory.keep_apart()
    memory._AFTER_START = 0.0
    giving = asyncio.create_task(memory.give_back(every=0.05, worth=4 << 20))
    await asyncio.sleep(0.2)
    gc.disable()  # as rarely as it can be
    before = memory._resident()
    gone = weakref.ref(Held())
    grown = memory._resident() - before
    async with asyncio.timeout(20):
        while gone() is not None:
            await asyncio.sleep(0.02)
        while memory._resident() > before + (8 << 20):
            await asyncio.sleep(0.02)
    assert grown > 40 << 20, grown
    giving.cancel()

asyncio.run(main())
"""


def test_what_only_a_whole_collection_finds_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


FREED_LATER = """\
import asyncio, gc
from binderops import memory

async def main():
    memory.keep_apart()
    memory._AFTER_START = 0.0
    gc.disable()
    held = [bytes(1300) for _ in range(40_000)]  # as Events in a store
    pins = held[::200]  # what lives on between them
    giving = asyncio.create_task(memory.give_back(every=0.05, worth=4 << 20))
    await asyncio.sleep(0.3)  # this much is the ground from which it looks for growth
    full = memory._resident()
    held.clear()
    by_itself = full - memory._resident()
    async with asyncio.timeout(20):
        while memory._resident() > full - (30 << 20):
            await asyncio.sleep(0.02)
    assert by_itself < 20 << 20, by_itself
    assert not giving.done() and len(pins) == 200
    giving.cancel()

asyncio.run(main())
"""


def test_what_was_held_for_long_is_given_back_too() -> None:
    """An hour of Events goes, and the process does not grow, but holds on to what it has."""
    done = subprocess.run([sys.executable, "-c", FREED_LATER], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


A_LITTLE = """\
import asyncio, gc, weakref
from binderops import memory

class Held:
    def __init__(self):
        self.itself, self.content = self, bytearray(3 << 20)

async def main():
    memory._AFTER_START = 0.0
    gc.disable()
    giving = asyncio.create_task(memory.give_back(every=0.05, worth=1 << 30, at_least={at_least}))
    await asyncio.sleep(0.2)  # what is there by then is left alone
    gone = weakref.ref(Held())
    async with asyncio.timeout(2):
        while gone() is not None:
            await asyncio.sleep(0.02)
    giving.cancel()

asyncio.run(main())
"""


def test_what_is_not_worth_a_look_goes_too_after_a_while() -> None:
    """What was in use during the last look is the ground of the next: without this it would be kept for ever."""

    def run(at_least: float) -> subprocess.CompletedProcess[str]:
        program = A_LITTLE.format(at_least=at_least)
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (done := run(0.3)).returncode == 0, done.stderr
    assert "TimeoutError" in run(1000.0).stderr
