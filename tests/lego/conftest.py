"""A real API, a real ACME server, and the controller's own program."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lego.pebble import ROOT, Pebble
from tests.lego.world import World
from tests.node_api import RunningApi

from binderops.kube.client import Client

BUILD_SECONDS = 900


@pytest.fixture(scope="session")
def test_programs() -> None:
    """Pebble and its DNS server, built once."""
    command = [str(ROOT / "scripts" / "test-programs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode != 0:
        pytest.fail(f"the programs for tests cannot be built: {done.stderr.strip()[-2000:]}")


@pytest.fixture(scope="session")
def lego_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """The API of one node, for all of this room's tests; each has a namespace of its own."""
    running = RunningApi(tmp_path_factory.mktemp("node"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def world(lego_api: RunningApi, tmp_path: Path) -> AsyncIterator[World]:
    """A namespace and a controller that is not started yet."""
    async with Client.from_kubeconfig(lego_api.kubeconfig) as client:
        made = World(client, lego_api.kubeconfig, tmp_path)
        await made.make()
        yield made
        await made.remove()


@pytest.fixture
def new_pebble(test_programs: None, tmp_path: Path, world: World) -> Iterator[Callable[..., Pebble]]:
    """Start a Pebble that the world's controller orders from; PEBBLE_* by keyword."""
    started: list[Pebble] = []

    def start(*, validity: int = 7776000, external: Any = None, **settings: str) -> Pebble:
        folder = tmp_path / f"pebble{len(started)}"
        made = Pebble(folder, http_port=world.port, validity=validity, external=external)
        started.append(made)
        made.start(**settings)
        world.server, world.ca = made.directory, made.ca
        return made

    yield start
    for each in started:
        each.stop()
