"""Reading container logs: files that conmon writes, one line each: `TIME STREAM F|P TEXT`.

A line longer than conmon's buffer comes in parts (`P`), the last of them marked `F`. conmon starts the file anew when
it has grown to its limit, so a reader that follows watches for a file that became shorter or another one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from binderops.kube.objects import parse_timestamp

CHUNK = 65536
HEAD = 128
"""Enough of an entry to hold its time, stream and tag."""
POLL_SECONDS = 0.1


class LogOptions(NamedTuple):
    """What of a log is wanted; `since` is a moment, `limit` a number of bytes of the answer."""

    follow: bool = False
    tail: int | None = None
    since: datetime | None = None
    timestamps: bool = False
    limit: int | None = None


class Line(NamedTuple):
    """One entry of the file: its time as written, whether it ends a line, and its text."""

    time: bytes
    full: bool
    text: bytes

    def render(self, *, timestamps: bool, continues: bool) -> bytes:
        """The entry as a reader sees it; the time stands only where a line begins."""
        head = self.time + b" " if timestamps and not continues else b""
        return head + self.text + (b"\n" if self.full else b"")


def parse_line(raw: bytes) -> Line | None:
    """One line of the file, None for what conmon did not write whole."""
    parts = raw.rstrip(b"\n").split(b" ", 3)
    if len(parts) < 3 or parts[2] not in (b"F", b"P"):
        return None
    return Line(parts[0], parts[2] == b"F", parts[3] if len(parts) == 4 else b"")


async def read_log(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Pieces of the log. With `follow`, until `running` says no and everything is read."""
    left = options.limit
    async for piece in _pieces(path, options, running):
        wanted = piece if left is None else piece[:left]
        if left is not None:
            left -= len(wanted)
        if wanted:
            yield wanted
        if left == 0:
            return


async def _pieces(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    continues = False
    while not path.exists():
        if not (options.follow and running()):
            return
        await asyncio.sleep(POLL_SECONDS)
    stream = path.open("rb")
    try:
        if options.tail is not None:
            stream.seek(await asyncio.to_thread(tail_position, stream, options.tail))
        rest = b""
        while True:
            alive = running()  # asked before reading: what is written before the end is then surely read
            data = stream.read(CHUNK)
            if data:
                *lines, rest = (rest + data).split(b"\n")
                out = []
                for raw in lines:
                    line = parse_line(raw)
                    if line is None or _before(line, options.since):
                        continue
                    out.append(line.render(timestamps=options.timestamps, continues=continues))
                    continues = not line.full
                if out:
                    yield b"".join(out)
                await asyncio.sleep(0)  # a fast reader, or one who wants none of this, keeps nobody else waiting
                continue
            if not options.follow or not alive:
                return
            if _replaced(stream, path):
                stream.close()
                stream, rest = path.open("rb"), b""
                continue
            await asyncio.sleep(POLL_SECONDS)
    finally:
        stream.close()


def tail_position(stream: BinaryIO, lines: int, *, chunk: int = CHUNK) -> int:
    """Where the last `lines` lines begin (a line in parts counts once). Looks at each byte once, from the end."""
    end = stream.seek(0, 2)
    if lines <= 0:
        return end
    found, after = 0, None
    for position, head in _entries_backwards(stream, end, chunk):
        line = parse_line(head)
        if after is not None and line is not None and line.full:
            found += 1
            if found == lines:
                return after
        after = position
    return 0


def _entries_backwards(stream: BinaryIO, end: int, chunk: int) -> Iterator[tuple[int, bytes]]:
    """(where it begins, its first bytes) of each entry, last first. Of one that spans chunks its head is kept only."""
    position, head = end, b""
    while position > 0:
        size = min(chunk, position)
        position -= size
        stream.seek(position)
        data = stream.read(size) + head
        stop = len(data)
        while (newline := data.rfind(b"\n", 0, stop)) >= 0:
            begin = newline + 1
            if position + begin < end:
                yield position + begin, data[begin : min(stop, begin + HEAD)]
            stop = newline
        head = data[: min(stop, HEAD)]
    if end:
        yield 0, head


def _before(line: Line, since: datetime | None) -> bool:
    if since is None:
        return False
    try:
        moment = parse_timestamp(_microseconds(line.time.decode()))
    except ValueError:
        return False
    return moment < since.astimezone(UTC)


def _microseconds(text: str) -> str:
    """Conmon's time has nine digits and a zone; Python reads six."""
    head, dot, rest = text.partition(".")
    if not dot:
        return text
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return f"{head}.{rest[:6] if digits > 6 else rest[:digits]}{rest[digits:]}"


def _replaced(stream: BinaryIO, path: Path) -> bool:
    try:
        now = path.stat()
    except OSError:
        return False
    return now.st_ino != os.fstat(stream.fileno()).st_ino or now.st_size < stream.tell()
