"""A real API, a real ACME server, and the controller's own program."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lego.pebble import Pebble, build_programs
from tests.lego.warm import Warm
from tests.lego.world import World
from tests.node_api import RunningApi

from binderops.kube.client import Client


@pytest.fixture(scope="session")
def test_programs() -> None:
    """Pebble and its DNS server, built once."""
    build_programs()


@pytest.fixture(scope="session")
def lego_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """The API of one node, for all of this room's tests; each has a namespace of its own."""
    running = RunningApi(tmp_path_factory.mktemp("node"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Starts the controller's program in a twentieth of a second."""
    made = Warm()
    yield made
    made.close()


@pytest.fixture
async def world(lego_api: RunningApi, tmp_path: Path, warm: Warm) -> AsyncIterator[World]:
    """A namespace and a controller that is not started yet."""
    async with Client.from_kubeconfig(lego_api.kubeconfig) as client:
        made = World(client, lego_api.kubeconfig, tmp_path, warm)
        await made.make()
        yield made
        await made.remove()


@pytest.fixture
def new_pebble(test_programs: None, tmp_path: Path, world: World) -> Iterator[Callable[..., Pebble]]:
    """Start a Pebble that the world's controller orders from; PEBBLE_* by keyword."""
    started: list[Pebble] = []

    def start(*, validity: int = 7776000, profiles: Any = None, external: Any = None, **settings: str) -> Pebble:
        folder = tmp_path / f"pebble{len(started)}"
        made = Pebble(folder, http_port=world.port, validity=validity, profiles=profiles, external=external)
        started.append(made)
        made.start(**settings)
        world.server, world.ca = made.directory, made.ca
        return made

    yield start
    for each in started:
        each.stop()
