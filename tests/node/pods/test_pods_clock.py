"""A node whose clock is wrong: it starts, says so, runs its pods through every jump, and is good once it is right.

The clock is the node's process' alone (`wall_clock.c`); the engine and the containers keep the machine's.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import ssl
import struct
import subprocess
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.node.pods.conftest import Node, running, status_of
from tests.podman.tiny import TINY

from binderops.kube.client import Client
from binderops.kube.kinds import EVENT
from binderops.kube.objects import is_pod_ready
from binderops.podman import Podman

pytestmark = [pytest.mark.podman, pytest.mark.root, pytest.mark.slow]

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


class Hands:
    """What the node takes for the time."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "offset"
        self._library = folder / "wall_clock.so"
        source = Path(__file__).with_name("wall_clock.c")
        command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(self._library), str(source)]
        subprocess.run(command, timeout=60, check=True)
        self.off_by(timedelta())

    def off_by(self, by: timedelta) -> None:
        # In place: the process has the file mapped.
        with self._file.open("r+b" if self._file.exists() else "w+b") as file:
            file.write(struct.pack("@l", int(by.total_seconds())))

    def since_1970(self) -> None:
        self.off_by(timedelta(seconds=3600 - datetime.now(UTC).timestamp()))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "WALL_CLOCK": str(self._file)}


@pytest.fixture
def hands(tmp_path: Path) -> Hands:
    return Hands(tmp_path)


@pytest.fixture
def node(tmp_path: Path, hands: Hands) -> Iterator[Node]:
    """A node that first starts in 1970."""
    node = Node(tmp_path, f"tc{secrets.token_hex(2)}")
    node.more = hands.environment
    hands.since_1970()
    with running(node):
        yield node


@pytest.fixture
async def client(node: Node) -> AsyncIterator[Client]:
    async with Client.from_kubeconfig(node.kubeconfig) as client:
        yield client


async def test_pods_live_through_every_jump_of_the_clock(
    client: Client, make: Any, wait_for: Any, node: Node, hands: Hands
) -> None:
    await make("steady", more=[_crashing()])
    await make("limited", activeDeadlineSeconds=3600)
    before = await wait_for("steady", lambda pod: status_of(pod).get("ready"))
    await wait_for("limited", is_pod_ready)
    told = await _told(client, node, "says 1970-01-01")
    assert "is past" in told and "timedatectl" in told
    tokens: list[str] = []
    for number, (by, said) in enumerate(
        [
            (timedelta(0), "set forward by"),  # put right
            (timedelta(days=3), "set forward by 3 days, 0:00:0"),
            (timedelta(0), "set back by"),
            (-timedelta(hours=7), "set back by 7:00:0"),
            (timedelta(0), "set forward by"),
        ]
    ):
        hands.off_by(by)
        await _told(client, node, said, new=number)
        tokens.append(await _good_token(node, before, datetime.now(UTC) + by))
        if by < timedelta(0):
            assert await _accepted(node, tokens[1]), "what was signed when the clock was ahead is good when it is right"
        await make(f"new-{number}")
        await wait_for(f"new-{number}", is_pod_ready)
    after = await wait_for("steady", lambda pod: status_of(pod).get("ready"))
    assert status_of(after)["containerID"] == status_of(before)["containerID"]
    assert status_of(after)["restartCount"] == 0
    assert is_pod_ready(await wait_for("limited", is_pod_ready)), "no deadline struck"
    # A back-off is as long as it says, whatever the clock did.
    restarts = status_of(after, "crashing")["restartCount"]
    hands.off_by(-timedelta(days=1))
    await wait_for("steady", lambda pod: status_of(pod, "crashing")["restartCount"] > restarts, seconds=90)
    hands.off_by(timedelta())
    # And nothing of it is left to trip over at the next start.
    node.end(signal.SIGTERM)
    node.start()
    after = await wait_for("steady", lambda pod: status_of(pod).get("ready"))
    assert status_of(after)["containerID"] == status_of(before)["containerID"]


def _crashing() -> dict[str, Any]:
    return {"name": "crashing", "image": TINY, "command": ["sh", "-c", "exit 1"]}


async def _told(client: Client, node: Node, said: str, *, new: int = -1) -> str:
    async with asyncio.timeout(40):
        while True:
            events = (await client.list(EVENT, "default", fields=f"involvedObject.name={node.name}")).items
            found = [event["message"] for event in events if event["reason"] == "ClockChanged"]
            if len(found) > new and (fitting := [message for message in found if said in message]):
                return str(fitting[-1])
            await asyncio.sleep(0.2)


async def _good_token(node: Node, pod: dict[str, Any], now: datetime) -> str:
    """The pod's token once it is good by the node's clock: the API takes it, and it has not expired."""
    pid = await _pid(node, pod)
    async with asyncio.timeout(30):
        while True:
            token = Path(f"/proc/{pid}/root{TOKEN}").read_text()
            claims = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
            if claims["exp"] > now.timestamp() and await _accepted(node, token):
                return token
            await asyncio.sleep(0.2)


async def _accepted(node: Node, token: str) -> bool:
    trusted = ssl.create_default_context(cafile=str(node.config.pki / "ca.crt"))
    async with httpx.AsyncClient(verify=trusted, timeout=20) as client:
        answer = await client.get(f"https://127.0.0.1:{node.port}/apis", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code == 200


async def _pid(node: Node, pod: dict[str, Any]) -> int:
    async with Podman(node.socket) as podman:
        found = await podman.containers.inspect(status_of(pod)["containerID"].removeprefix("podman://"))
    return int(found["State"]["Pid"])
