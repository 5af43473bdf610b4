"""What a node that was killed in the midst of a removal has left running: a process that its engine does not know."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest
from tests.node.pods.conftest import Node
from tests.podman.forgotten import forget, made_unnoticed, until_nothing_runs

from binderops.kube.objects import is_pod_ready
from binderops.node.pods import records
from binderops.node.pods.engine import engine_settings
from binderops.podman import Podman
from binderops.podman.commands import run

pytestmark = [pytest.mark.podman, pytest.mark.root]


@pytest.mark.parametrize("then", ["start", "stop"])
async def test_it_is_ended(make: Any, wait_for: Any, node: Node, then: str) -> None:
    await make("beside")
    await wait_for("beside", is_pod_ready)
    await asyncio.to_thread(node.end, signal.SIGKILL)
    settings = engine_settings(node.config)
    try:
        async with Podman(node.socket) as podman:
            labels = {records.NODE: node.name, records.POD_UID: "nobody", records.CONTAINER: "main"}
            identity = await made_unnoticed(
                settings, podman, labels=labels, cgroup_parent=f"/binderops/{node.name}/nobody"
            )
            await forget(settings, identity)
        if then == "stop":
            await run(node.command("stop"), environment=node.environment, timeout=60)
            await until_nothing_runs(settings, identity)
    finally:
        await asyncio.to_thread(node.start)
    await until_nothing_runs(settings, identity, seconds=30)
    await wait_for("beside", is_pod_ready)
