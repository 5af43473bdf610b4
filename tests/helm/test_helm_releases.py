"""Helm's door against an API that accepts and never answers, one that refuses, and one that speaks nonsense."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from binderops.errors import HelmError
from binderops.helm.releases import ReleaseDoor

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def api(folder: Path, serve: Serve) -> AsyncIterator[ReleaseDoor]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n"
        f"clusters: [{{name: x, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n"
        "contexts: [{name: x, context: {cluster: x, user: x}}]\nusers: [{name: x, user: {}}]\n"
    )
    try:
        yield ReleaseDoor(kubeconfig, "somewhere")
    finally:
        server.close()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts, reads, and never answers."""
    try:
        while await reader.read(4096):
            pass
    finally:
        writer.close()


async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4096)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<html>no!")
    await writer.drain()
    writer.close()


async def test_a_silent_api_ends_at_the_deadline_and_leaves_no_child(tmp_path: Path) -> None:
    async with api(tmp_path, silent) as door:
        started = time.monotonic()
        with pytest.raises(HelmError, match="did not end within 2 s"):
            await door.history("some", timeout=2)
        assert time.monotonic() - started < 15
    assert not _children()


async def test_cancelling_leaves_no_child(tmp_path: Path) -> None:
    async with api(tmp_path, silent) as door:
        task = asyncio.create_task(door.history("some", timeout=60))
        async with asyncio.timeout(20):
            while not _children():
                await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not _children()


async def test_an_api_that_refuses_is_told_at_once(tmp_path: Path) -> None:
    async with api(tmp_path, silent) as door:
        pass
    with pytest.raises(HelmError) as caught:
        await door.history("some", timeout=20)
    assert "refused" in str(caught.value)
    assert "somewhere" in str(caught.value.where)


async def test_an_api_that_speaks_nonsense_is_an_error_of_ours(tmp_path: Path) -> None:
    async with api(tmp_path, nonsense) as door:
        with pytest.raises(HelmError):
            await door.history("some", timeout=20)


def _children() -> list[str]:
    """Helm children of this very process: others of the machine are not ours to look at."""
    import os

    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"binderops.helm.child" in command and parent == os.getpid():
            found.append(entry.name)
    return found
