"""A whole node that starts on a full disk: it comes back, finds its pods, and makes the room that is its to make."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.disks import fill, small_disk
from tests.node.pods.conftest import Node, give_image
from tests.podman.tiny import TINY

from binderops.kube.client import Client
from binderops.kube.kinds import NODE, POD
from binderops.node.pods import cgroups
from binderops.podman.commands import run

pytestmark = [pytest.mark.root, pytest.mark.podman, pytest.mark.slow]

SIZE = 256 << 20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Node]:
    """A node whose state lies on a disk of 256 MiB; what lies below /run on a machine does not."""
    with small_disk(tmp_path, SIZE) as disk:
        node = Node(tmp_path, f"tf{secrets.token_hex(2)}")
        node.state = disk
        try:
            node.start()
            asyncio.run(give_image(node))
            yield node
        finally:
            for path in disk.glob("filler"):
                path.unlink()
            node.remove()


@pytest.mark.parametrize("end", ["killed", "restarted"])
async def test_on_a_disk_that_logs_of_dead_pods_filled_a_node_comes_back_and_makes_room(small: Node, end: str) -> None:
    """Killed: its pods run on. As after a restart of the machine: no process, mount or network is left of them."""
    async with _client(small) as client:
        before = await _running(client, "stays")
    reserve = small.config.state / "reserve"
    small.wait_for(reserve.exists, "reserve")
    small.end(signal.SIGKILL)
    if end == "restarted":
        await run(small.command("stop"), environment=small.environment, timeout=90)
    program = small.config.state / "logs" / "node.log"
    program.write_bytes(b"x" * (17 << 20))
    dead = small.config.state / "logs" / "default_gone_00000000-0000-0000-0000-000000000000" / "main" / "0.log"
    dead.parent.mkdir(parents=True)
    fill(dead)
    small.start()
    assert "a piece of the reserve is given up" in small.log.read_text()
    small.wait_for(lambda: not dead.parents[1].exists(), "removal of the logs of a pod that is gone")
    async with _client(small) as client:
        if end == "killed":
            assert _container(await client.get(POD, "stays", "default")) == _container(before), "it ran on"
        else:
            async with asyncio.timeout(60):
                while _container(await client.get(POD, "stays", "default")) in {"", _container(before)}:
                    await asyncio.sleep(0.05)
        await _running(client, "new")
    small.wait_for(lambda: program.stat().st_size == 0, "cut of the program's log")


async def test_a_node_whose_reserve_is_spent_starts_on_a_disk_that_others_filled(small: Node) -> None:
    async with _client(small) as client:
        before = await _running(client, "stays")
    for number in (signal.SIGTERM, signal.SIGKILL):
        small.end(number)
        (small.config.state / "reserve").unlink(missing_ok=True)
        fill(small.state / "filler")
        small.start()
        async with _client(small) as client:
            assert _container(await client.get(POD, "stays", "default")) == _container(before), "it ran on"
    os.truncate(small.state / "filler", (small.state / "filler").stat().st_size - (8 << 20))
    async with _client(small) as client, asyncio.timeout(30):
        while await _pressure(client, small.name) != "True":
            await asyncio.sleep(0.05)
        (small.state / "filler").unlink()
        await _running(client, "new")
        while await _pressure(client, small.name) != "False":
            await asyncio.sleep(0.05)


async def test_a_node_is_stopped_and_started_on_a_full_disk_and_its_pods_wait_for_room_alone(small: Node) -> None:
    async with _client(small) as client:
        before = await _running(client, "again")
    small.end(signal.SIGKILL)
    (small.config.state / "reserve").unlink(missing_ok=True)
    fill(small.state / "filler")
    await run(small.command("stop"), environment=small.environment, timeout=90)
    assert not cgroups.left(small.name), "its containers run"
    small.start()
    async with _client(small) as client:
        await client.get(POD, "again", "default")
        (small.state / "filler").unlink()
        async with asyncio.timeout(60):
            while (pod := await client.get(POD, "again", "default"))["status"].get("phase") != "Running" or (
                _container(pod) in {"", _container(before)}
            ):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def _client(node: Node) -> AsyncIterator[Client]:
    async with Client.from_kubeconfig(node.kubeconfig) as client:
        yield client


async def _running(client: Client, name: str) -> dict[str, Any]:
    container = {"name": "main", "image": TINY, "command": ["sh", "-c", "sleep 1000"], "imagePullPolicy": "Never"}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False}
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}}
    async with asyncio.timeout(60):
        await client.create({**pod, "spec": spec})
        while (pod := await client.get(POD, name, "default"))["status"].get("phase") != "Running":
            await asyncio.sleep(0.05)
    return pod


async def _pressure(client: Client, node: str) -> str:
    conditions = (await client.get(NODE, node))["status"]["conditions"]
    return next(str(each["status"]) for each in conditions if each["type"] == "DiskPressure")


def _container(pod: dict[str, Any]) -> str:
    return str(pod["status"]["containerStatuses"][0].get("containerID") or "")
