"""Package indexes that refuse, hang or answer: real sockets on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from binderops.errors import ImageError
from binderops.images import reach
from binderops.images.machine import MachineSettings
from binderops.images.reach import refuse_silent, sources_of

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@asynccontextmanager
async def index(status: int | None) -> AsyncIterator[str]:
    """A server that answers every request with `status`, or (None) never."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if status is None:
            await reader.read()
        else:
            writer.write(f"HTTP/1.1 {status} Word\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}/simple"


async def ask(url: str) -> None:
    settings = MachineSettings(pip_index=url)
    await refuse_silent(sources_of(settings, debian=False, npm=False), settings)


@pytest.mark.parametrize("status", [200, 404])
async def test_an_index_that_answers_is_good(status: int) -> None:
    async with index(status) as url:
        await ask(url)


@pytest.mark.parametrize(("status", "why"), [(503, "it answers 503"), (401, "it answers 401"), (None, "no answer")])
async def test_one_that_does_not_is_named_with_the_way_out(
    status: int | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "ANSWER_SECONDS", 0.5)
    async with index(status) as url:
        began = time.monotonic()
        with pytest.raises(ImageError) as refused:
            await ask(url.replace("http://", "http://me:hidden@"))
    assert time.monotonic() - began < 5
    assert "the Python package index does not answer" in refused.value.what
    assert why in (refused.value.why or "") and "PIP_INDEX_URL" in (refused.value.hint or "")
    assert "hidden" not in str(refused.value)


async def test_a_closed_port_is_told_at_once() -> None:
    async with index(200) as url:
        pass
    with pytest.raises(ImageError, match="ConnectError"):
        await ask(url)


async def test_each_place_has_a_way_out_of_its_own() -> None:
    async with index(200) as good, index(503) as bad:
        settings = MachineSettings(pip_index=good, debian_mirror=bad, npm_registry=good)
        with pytest.raises(ImageError) as refused:
            await refuse_silent(sources_of(settings, debian=True, npm=True), settings)
    assert (refused.value.where or "").startswith(bad) and "sources.list" in (refused.value.hint or "")
