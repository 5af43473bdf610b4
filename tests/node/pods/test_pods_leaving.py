"""What the engine cannot remove now is removed later, and keeps no other pod waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.node.pods.between import standing_between
from tests.node.pods.conftest import Node, ended, status_of
from tests.podman.tiny import TINY

from binderops.kube.objects import is_pod_ready, uid_of
from binderops.node.pods import cgroups, records
from binderops.podman import Podman

pytestmark = [pytest.mark.podman, pytest.mark.root]


async def until(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


async def until_gone(podman: Podman, identity: str) -> None:
    async with asyncio.timeout(60):
        while identity in {str(found["Id"]) for found in await podman.containers.list_all()}:
            await asyncio.sleep(0.1)


def removal_of(*identities: str) -> Callable[[str], bool]:
    return lambda line: line.startswith("DELETE ") and any(identity in line for identity in identities)


async def container(podman: Podman, node: Node, uid: str, *, started: bool) -> str:
    """A container of a pod, as an earlier process of the node may have left it."""
    labels = {records.NODE: node.name, records.POD_UID: uid, records.CONTAINER: "left", records.ATTEMPT: "7"}
    group = f"/binderops/{node.name}/{uid}"
    body = {"image": TINY, "command": ["sleep", "1000"], "netns": {"nsmode": "host"}, "cgroup_parent": group}
    identity = await podman.containers.create({**body, "labels": labels})
    if started:
        await podman.containers.start(identity)
    return identity


async def test_a_container_that_cannot_be_removed_keeps_no_pod_waiting(make: Any, wait_for: Any, node: Node) -> None:
    """Neither one that no pod owns nor one of a pod that was never started."""
    async with standing_between(node) as between, Podman(node.socket) as podman:
        await make("kept")
        kept = await wait_for("kept", is_pod_ready)
        orphan = await container(podman, node, "nobody", started=True)
        unused = await container(podman, node, uid_of(kept), started=False)
        between.refuse(removal_of(orphan, unused))
        await asyncio.to_thread(node.end)
        await asyncio.to_thread(node.start)
        await make("beside")
        await wait_for("beside", is_pod_ready)
        await until(lambda: between.count(removal_of(orphan)) > 0 and between.count(removal_of(unused)) > 0)
        assert (await podman.containers.inspect(orphan))["State"]["Running"], "or there was nothing to wait for"
        between.refuse(None)
        between.cut_events()
        await until_gone(podman, orphan)
        await until(lambda: "nobody" not in cgroups.left(node.name))
        assert status_of(await wait_for("kept", is_pod_ready))["containerID"] == status_of(kept)["containerID"]


@pytest.mark.parametrize("what", ["lists", "removes"])
async def test_a_finished_pod_gives_everything_back_once_the_engine_can(
    make: Any, wait_for: Any, node: Node, what: str
) -> None:
    name = f"finished-{what}"
    async with standing_between(node) as between, Podman(node.socket) as podman:
        before = networks(node)
        uid = uid_of(await make(name, "sleep 1", restartPolicy="Never"))
        identity = status_of(await wait_for(name, is_pod_ready))["containerID"].removeprefix("podman://")
        own = networks(node) - before
        assert len(own) == 1
        refused = removal_of(identity) if what == "removes" else (lambda line: "/json?" in line and uid in line)
        between.refuse(refused)
        assert (await wait_for(name, ended))["status"]["phase"] == "Succeeded"
        await until(lambda: between.count(refused) > 2)
        assert await podman.containers.inspect(identity)
        if what == "removes":
            await until(lambda: not own & networks(node))
        between.refuse(None)
        await until_gone(podman, identity)
        await until(lambda: not own & networks(node) and not (node.config.state / "pods" / uid).exists())


def networks(node: Node) -> set[str]:
    return {path.name for path in Path("/run/netns").glob(f"bo-{node.name}-*")}
