"""What the node believes of its containers, held against what the engine says."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.node.pods.between import standing_between
from tests.node.pods.conftest import Node, ended, status_of

from binderops.kube.objects import is_pod_ready
from binderops.node.pods.ending import final_record
from binderops.node.pods.kit import Kit
from binderops.node.pods.records import record_of
from binderops.podman import Podman

pytestmark = [pytest.mark.podman, pytest.mark.root]


def lists_all(line: str) -> bool:
    """A request for all containers of the node."""
    return "/containers/json?" in line and "binderops.dev%2Fnode" in line and "pod-uid" not in line


async def test_what_starts_while_the_engine_lists_is_not_missing(make: Any, wait_for: Any, node: Node) -> None:
    """It runs for longer than the node asks for the end of what it believes to have ended."""
    async with standing_between(node) as between:
        await make("before")
        await wait_for("before", is_pod_ready)
        between.hold(lists_all)
        between.cut_events()
        async with asyncio.timeout(40):
            await between.held.wait()
        await make("meanwhile", "sleep 8", restartPolicy="Never")
        before = await wait_for("meanwhile", is_pod_ready)
        identity = status_of(before)["containerID"].removeprefix("podman://")
        between.lines.clear()
        between.release()
        pod = await wait_for("meanwhile", ended)
        assert between.count(lists_all), "the comparison went on while it ran"
    assert (pod["status"]["phase"], status_of(pod)["containerID"]) == ("Succeeded", f"podman://{identity}")


async def test_no_end_is_made_up_for_a_process_that_lives(make: Any, wait_for: Any, node: Node) -> None:
    await make("lives")
    identity = status_of(await wait_for("lives", is_pod_ready))["containerID"].removeprefix("podman://")
    async with Podman(node.socket) as podman:
        record = record_of(await podman.containers.inspect(identity))
        assert record.state == "running"
        kit = cast(Kit, SimpleNamespace(podman=podman))
        assert await final_record(kit, record) == record
        lost = await final_record(kit, record._replace(id="0" * 64))
        assert (lost.state, lost.exit_code) == ("exited", 137), "its process is another container's"
