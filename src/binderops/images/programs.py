"""Running a program to its end: streamed line by line, with a deadline, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from binderops.errors import ImageError

_TAIL_LINES = 30
_GRACE_SECONDS = 5
_LOOK_AGAIN_SECONDS = 0.05


async def run_program(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout_seconds: float,
    what: str,
    on_line: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Run a program, give each line of its output to `on_line`, and return the lines of its standard output.

    Raises ImageError with `what` failed and the last lines, when it exits with an error or outlives the deadline. When
    the caller is cancelled, the program and its children are stopped first.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
            limit=2**20,
        )
    except OSError as error:
        raise ImageError(
            f"{what} failed", why=f"{arguments[0]} cannot be started: {error.strerror}", hint="make system"
        ) from error
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    output: list[str] = []
    assert process.stdout is not None and process.stderr is not None
    try:
        async with asyncio.timeout(timeout_seconds):
            await asyncio.gather(
                _read(process.stdout, tail.append, output.append, on_line),
                _read(process.stderr, tail.append, on_line),
            )
            code = await process.wait()
    except TimeoutError as error:
        raise ImageError(f"{what} failed", why=_why(f"not done after {timeout_seconds:.0f} s", tail)) from error
    finally:
        await _stop(process)
    if code != 0:
        raise ImageError(f"{what} failed", why=_why(f"{arguments[0]} exited with {code}", tail))
    return output


async def end_leftovers(names: Collection[str], *, mentioned: Path) -> list[str]:
    """End the programs of a caller that was killed: those that begin a session and were told of a path.

    Only for who holds what all callers hold. Returns the names of those there were.
    """
    found: dict[int, str] = {}
    for pid, words in _session_leaders():
        name = next((Path(word).name for word in words[:2] if Path(word).name in names), "")  # scripts come second
        if name and any(str(mentioned) in word for word in words):
            found[pid] = name
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in found:
            with suppress(ProcessLookupError):
                os.killpg(pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                while any(pid in found for pid, _ in _session_leaders()):
                    await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            break
    return sorted(found.values())


def _session_leaders() -> Iterator[tuple[int, list[str]]]:
    """Process id and command line of each that is the first of its session and not a zombie."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            words = (entry / "cmdline").read_text(errors="replace").split("\0")
        except OSError:
            continue
        if session == entry.name and state != "Z":
            yield int(entry.name), words


async def _read(stream: asyncio.StreamReader, *consumers: Callable[[str], None]) -> None:
    async for raw in stream:
        line = raw.decode(errors="replace").rstrip("\n")
        for consume in consumers:
            consume(line)


def _why(reason: str, tail: deque[str]) -> str:
    said = [line for line in tail if line.strip() and "level=warning" not in line]
    return "\n  ".join([reason, *said])


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(TimeoutError):
        async with asyncio.timeout(_GRACE_SECONDS):
            await process.wait()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
