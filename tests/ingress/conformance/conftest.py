"""The target of the conformance table. A real cluster becomes another one: what offers the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ingress.authority import Authority
from tests.ingress.process import LoopbackTarget, loopback_target
from tests.node_api import RunningApi


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    running = RunningApi(tmp_path_factory.mktemp("api"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def target(
    running: RunningApi, tmp_path: Path, stock_programs: Any, authority: Authority
) -> AsyncIterator[LoopbackTarget]:
    name = "conformance-" + tmp_path.name[-20:].strip("-_").replace("_", "-").lower()
    async with loopback_target(tmp_path, running, stock_programs.helm, authority, namespace=name) as target:
        yield target
        await target.delete_ingresses()
