from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.podman.tiny import private_engine

from binderops.podman import EngineSettings, Podman


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineSettings]:
    with private_engine(tmp_path_factory.mktemp("podman")) as settings:
        yield settings


@pytest.fixture
async def podman(engine: EngineSettings) -> AsyncIterator[Podman]:
    async with Podman(engine.socket) as client:
        yield client
