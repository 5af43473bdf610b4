"""Programs end: by themselves, at their deadline, or with their caller; and say why."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from binderops.errors import ImageError
from binderops.images.programs import end_leftovers, run_program

_ENV = {"PATH": os.environ["PATH"]}


async def test_lines_come_as_they_are_written() -> None:
    seen: list[str] = []
    output = await run_program(
        ["sh", "-c", "echo one; echo two >&2"], environment=_ENV, timeout_seconds=10, what="x", on_line=seen.append
    )
    assert output == ["one"]
    assert sorted(seen) == ["one", "two"]


async def test_a_failure_quotes_the_last_lines() -> None:
    with pytest.raises(ImageError) as failed:
        await run_program(
            ["sh", "-c", "echo because >&2; exit 3"], environment=_ENV, timeout_seconds=10, what="making x"
        )
    assert failed.value.what == "making x failed"
    assert failed.value.why == "sh exited with 3\n  because"


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(ImageError, match="no-such-program cannot be started"):
        await run_program(["no-such-program"], environment=_ENV, timeout_seconds=1, what="x")


async def test_the_deadline_stops_it_and_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 60 & echo $! > {pids}; wait"
    with pytest.raises(ImageError, match="not done after"):
        await run_program(["sh", "-c", script], environment=_ENV, timeout_seconds=0.5, what="x")
    await _gone(int(pids.read_text()))


async def test_what_a_killed_caller_left_is_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"""
import asyncio
from binderops.images.programs import run_program
asyncio.run(run_program(["sh", "-c", "sleep 60 & echo $! > $1; wait", "sh", "{pids}"],
    environment={{"PATH": "/usr/bin:/bin"}}, timeout_seconds=60, what="x"))
"""
    caller = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    reader = await asyncio.create_subprocess_exec("tail", "-f", "/dev/null", "--pid=1", str(pids), stderr=-3)
    try:
        async with asyncio.timeout(20):
            while not (pids.exists() and pids.read_text().strip()):
                await asyncio.sleep(0.01)
        caller.kill()
        await caller.wait()
        left = int(pids.read_text())
        os.kill(left, 0)  # it lives on
        assert await end_leftovers({"other"}, mentioned=tmp_path) == []
        assert await end_leftovers({"sh", "tail"}, mentioned=tmp_path) == ["sh"]
        await _gone(left)
        assert reader.returncode is None, "of nobody's session but its caller's"
        assert await end_leftovers({"sh", "tail"}, mentioned=tmp_path) == []
    finally:
        reader.kill()
        await reader.wait()


async def test_cancelling_stops_it_and_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    started = asyncio.Event()
    script = f"sleep 60 & echo $! > {pids}; echo started; wait"
    task = asyncio.create_task(
        run_program(
            ["sh", "-c", script], environment=_ENV, timeout_seconds=60, what="x", on_line=lambda _: started.set()
        )
    )
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _gone(int(pids.read_text()))


async def _gone(pid: int) -> None:
    async with asyncio.timeout(5):
        while _runs(pid):
            await asyncio.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        # A zombie that nobody reaps (PID 1 of some containers does not) has ended too.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
