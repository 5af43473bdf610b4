"""A command that is given up at its deadline does not go on in its container."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.node.pods.conftest import Node, status_of

from binderops.kube.client import Client
from binderops.kube.kinds import EVENT
from binderops.kube.objects import uid_of
from binderops.node.pods import cgroups

pytestmark = [pytest.mark.podman, pytest.mark.root]

HANGS = {"exec": {"command": ["sh", "-c", "sleep 1000; true"]}, "timeoutSeconds": 1, "periodSeconds": 1}
PROCESSES = 2
"""Of each attempt: the shell, and what it started."""


async def test_a_hanging_probe_leaves_one_attempt_at_most(client: Client, make: Any, wait_for: Any, node: Node) -> None:
    pod = await make("hangs", "sleep 999", container={"readinessProbe": HANGS})
    running = await wait_for("hangs", lambda pod: "running" in status_of(pod).get("state", {}))
    identity = status_of(running)["containerID"].removeprefix("podman://")
    fields = f"involvedObject.uid={uid_of(pod)},reason=Unhealthy"
    async with asyncio.timeout(60):
        while (
            sum(int(event.get("count") or 1) for event in (await client.list(EVENT, "default", fields=fields)).items)
            < 5
        ):
            await asyncio.sleep(0.1)
    async with asyncio.timeout(5):
        while len(found := cgroups.processes(node.name, uid_of(pod), identity)) > 1 + PROCESSES:
            await asyncio.sleep(0.05)
    assert found, "its own process goes on"
    assert status_of(await wait_for("hangs", lambda _: True))["restartCount"] == 0
