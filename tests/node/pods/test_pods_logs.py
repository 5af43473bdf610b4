"""Logs as conmon writes them: lines in parts, their tail, and that nobody waits while a huge one is read."""

from __future__ import annotations

import asyncio
import io
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.node.pods.kubelet.server import RefusedError, log_options
from binderops.node.pods.logs import LogOptions, parse_line, read_log, tail_position

TIME = b"2026-11-24T15:59:58.785697708+00:00"


def log_file(folder: Path, *entries: tuple[bytes, bytes]) -> Path:
    path = folder / "0.log"
    path.write_bytes(b"".join(TIME + b" stdout " + tag + b" " + text + b"\n" for tag, text in entries))
    return path


async def read(path: Path, **options: object) -> bytes:
    pieces = read_log(path, LogOptions(**options), lambda: False)  # type: ignore[arg-type]
    return b"".join([piece async for piece in pieces])


async def test_parts_of_a_line_are_joined(tmp_path: Path) -> None:
    path = log_file(tmp_path, (b"F", b"one"), (b"P", b"two"), (b"F", b"-three"), (b"F", b""))
    assert await read(path) == b"one\ntwo-three\n\n"
    assert await read(path, tail=2) == b"two-three\n\n"
    assert await read(path, tail=99) == b"one\ntwo-three\n\n"
    assert await read(path, timestamps=True) == TIME + b" one\n" + TIME + b" two-three\n" + TIME + b" \n"


async def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    assert await read(tmp_path / "none.log") == b""


@given(st.binary(max_size=80))
def test_any_line_can_be_parsed(raw: bytes) -> None:
    line = parse_line(raw)
    assert line is None or isinstance(line.text, bytes)


@given(
    st.lists(st.tuples(st.sampled_from([b"F", b"P", b"?"]), st.integers(0, 90)), max_size=30),
    st.integers(1, 12),
    st.integers(1, 40),
    st.integers(0, 50),
)
def test_the_tail_is_where_its_lines_begin(entries: list[tuple[bytes, int]], lines: int, chunk: int, cut: int) -> None:
    raws = [TIME + b" stdout " + tag + b" " + b"x" * size + b"\n" for tag, size in entries]
    whole = b"".join(raws)
    written = whole[: max(0, len(whole) - cut)]
    starts, position, begins = [], 0, True
    for (tag, _), raw in zip(entries, raws, strict=True):
        if begins and position < len(written):
            starts.append(position)
        position, begins = position + len(raw), tag == b"F"
    expected = starts[-lines] if len(starts) >= lines else 0
    assert tail_position(io.BytesIO(written), lines, chunk=chunk) == expected


@pytest.mark.parametrize("tag", [b"F", b"P"])
def test_a_huge_log_has_its_tail_found_in_one_look(tag: bytes) -> None:
    log = io.BytesIO((TIME + b" stdout " + tag + b" x\n") * 350_000)  # 16 MiB; a log may have 64
    began = time.thread_time()
    assert tail_position(log, 10**9) == 0
    assert time.thread_time() - began < 4, "25 s when each piece was looked at again with all that follow it"


async def test_others_go_on_while_a_huge_log_is_read(tmp_path: Path) -> None:
    path, turns = log_file(tmp_path, *[(b"F", b"x" * 1000)] * 4000), 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    assert await read(path, since=datetime.now(UTC) + timedelta(days=3650)) == b""
    task.cancel()
    assert turns > 50, "one for each piece of the file"


async def test_a_long_log_has_its_tail_found(tmp_path: Path) -> None:
    path = log_file(tmp_path, *((b"F", f"{number:06d}".encode() * 20) for number in range(3000)))
    text = await read(path, tail=3)
    assert [line[:6] for line in text.splitlines()] == [b"002997", b"002998", b"002999"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"tailLines": "-1"}, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ({"limitBytes": "-1"}, "limitBytes: Invalid value: -1: must be greater than 0"),
        ({"limitBytes": "0"}, "limitBytes: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": "0"}, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": "9", "sinceTime": "2100-01-01T00:00:00Z"}, "at most one of `sinceTime` or `sinceSeconds`"),
    ],
)
def test_log_options_that_validate_nowhere(query: dict[str, str], field: str) -> None:
    with pytest.raises(RefusedError, match="PodLogOptions") as refused:
        log_options(query)
    assert (refused.value.code, field in str(refused.value)) == (422, True)
