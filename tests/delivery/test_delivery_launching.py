"""What a failed launch says to the one who launched: the binder's advice to the author, or where its own log is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from binderops.delivery.launching import launch
from binderops.errors import ProofError


@asynccontextmanager
async def binder(last: dict[str, Any]) -> AsyncIterator[str]:
    """A server whose every stream is one event."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        writer.write(f"{head}data:{json.dumps(last)}\n\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_a_stream_that_breaks_off_is_asked_for_again() -> None:
    """As a page does: the binder was started anew, its builds went on."""
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if "/lab" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        else:
            asked += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            event: dict[str, str] = {"phase": "building", "message": f"asked {asked}"}
            if asked == 3:
                event |= {"phase": "ready", "url": f"{url}user/a/", "token": "t"}
            data = f"data:{json.dumps(event)}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))  # and no last chunk
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        said: list[str] = []
        launched = await launch(url, "gh/a/b/HEAD", on_event=lambda phase, text: said.append(text))
    assert (said, launched.token) == (["asked 1", "asked 2", "asked 3"], "t")


async def test_a_binder_that_never_answered_is_not_asked_again() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(ProofError, match="cannot be reached"):
            await launch(url, "gh/a/b/HEAD", on_event=lambda phase, text: None)


TYPO = {"id": "ref-not-found", "title": "There is no such repository", "advice": "Check the address."}
UNKNOWN = {"id": "build-failed", "title": "The image could not be built", "advice": "The last lines say why."}


@pytest.mark.parametrize(
    ("explanation", "what", "hint"),
    [
        (TYPO, "failed: There is no such repository", "Check the address."),
        (UNKNOWN, "gh/a/b/HEAD failed", "The last lines say why."),
        (None, "gh/a/b/HEAD failed", "binderops logs binder"),
        ("nonsense", "gh/a/b/HEAD failed", "binderops logs binder"),
    ],
)
async def test_a_failure_says_what_the_author_can_do(explanation: Any, what: str, hint: str) -> None:
    event = {"phase": "failed", "message": "it is not there\n"} | ({"explanation": explanation} if explanation else {})
    async with binder(event) as url:
        with pytest.raises(ProofError) as failed:
            await launch(url, "gh/a/b/HEAD", on_event=lambda phase, text: None)
    assert (failed.value.what.endswith(what), failed.value.why) == (True, "it is not there")
    assert (failed.value.hint or "").startswith(hint)
