"""Fixtures of a running node's API."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.node_api import Api, RunningApi


@pytest.fixture(scope="session")
def running_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """The API of one node, shared by a session's tests; each makes namespaces of its own."""
    running = RunningApi(tmp_path_factory.mktemp("node"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def api(running_api: RunningApi) -> AsyncIterator[Api]:
    """Requests as the administrator."""
    async with running_api.session() as session:
        yield Api(running_api, session)


@pytest.fixture
async def namespace(api: Api) -> str:
    """A namespace of the test's own, with the ServiceAccount that a controller would make."""
    name = "t-" + secrets.token_hex(4)
    await api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    await api.create(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})
    return name


async def take(events: AsyncIterator[dict[str, Any]], count: int, *, seconds: float = 10) -> list[dict[str, Any]]:
    """The next events of a watch."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(seconds):
        while len(found) < count:
            found.append(await anext(events))
    return found


@pytest.fixture
def take_events() -> Any:
    """`take`."""
    return take


@pytest.fixture
def new_api(tmp_path: Path) -> Iterator[RunningApi]:
    """A node of the test's own, not started yet."""
    running = RunningApi(tmp_path)
    yield running
    if running.process and running.process.poll() is None:
        running.stop(signal.SIGKILL)


@pytest.fixture
def as_admin() -> Any:
    """Make an `Api` for a running node's administrator."""
    return lambda running: Api(running, running.session())
