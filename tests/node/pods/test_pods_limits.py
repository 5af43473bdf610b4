"""Pods that meet a limit and go on are named, on a real node."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.node.pods.conftest import Node, events_of, is_running, status_of

from binderops.kube.client import Client

pytestmark = [pytest.mark.podman, pytest.mark.root]

# What is too much a process of its own does: the container's first one, like a notebook server, goes on.
HOG = "dd if=/dev/zero of=/dev/null bs=209715200 count=1; sleep 1000"
FORKS = "until test -e /v/go; do sleep 0.05; done; for each in 1 2 3 4 5 6; do (sleep 1000 &); done; sleep 1000"


async def told(client: Client, pod: Any, reason: str, *, seconds: float = 30.0) -> Any:
    """The Event of this reason about the pod, once there is one."""
    async with asyncio.timeout(seconds):
        while True:
            for event in await events_of(client, pod):
                if event["reason"] == reason:
                    return event
            await asyncio.sleep(0.1)


async def test_who_reaches_the_limit_of_memory_is_named(client: Client, make: Any, wait_for: Any) -> None:
    limit = {"resources": {"limits": {"memory": "64Mi"}}}
    pod = await make("hog", HOG, container=limit)
    event = await told(client, pod, "OOMKilling")
    assert event["type"] == "Warning"
    assert event["message"].endswith("container main for want of memory: its limit is 64Mi")
    seen = await wait_for("hog", is_running)
    assert status_of(seen)["restartCount"] == 0


async def test_what_the_process_before_has_told_is_not_told_again(
    client: Client, make: Any, wait_for: Any, node: Node
) -> None:
    limit = {"resources": {"limits": {"memory": "64Mi"}}}
    pod = await make("told", HOG, container=limit)
    event = await told(client, pod, "OOMKilling")
    node.end()
    node.start()
    other = await make("after", HOG, container=limit)
    await told(client, other, "OOMKilling")  # the look that saw this one saw the first, too
    assert (await told(client, pod, "OOMKilling"))["count"] == event["count"] == 1
    assert [each["reason"] for each in await events_of(client, pod)].count("OOMKilling") == 1


async def test_who_reaches_the_limit_of_processes_is_named(
    client: Client, make: Any, wait_for: Any, node: Node
) -> None:
    volume = {"name": "v", "emptyDir": {}}
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    pod = await make("bomb", FORKS, container=mount, volumes=[volume])
    await wait_for("bomb", is_running)
    _group(node, pod).joinpath("pids.max").write_text("6")  # its 4,096 would take a machine's time
    [go] = node.state.glob(f"nodes/*/**/{pod['metadata']['uid']}/volumes/v")
    (go / "go").touch()
    event = await told(client, pod, "TooManyProcesses")
    assert event["type"] == "Warning" and "cannot start another" in event["message"]


async def test_who_stays_below_is_not(client: Client, make: Any, wait_for: Any) -> None:
    pod = await make("calm", "dd if=/dev/zero of=/dev/null bs=8388608 count=1; sleep 1000", container={})
    hog = await make("beside", HOG, container={"resources": {"limits": {"memory": "64Mi"}}})
    await wait_for("calm", is_running)
    await told(client, hog, "OOMKilling")  # the look that saw this one saw the other, too
    reasons = {event["reason"] for event in await events_of(client, pod)}
    assert not reasons & {"OOMKilling", "TooManyProcesses"}


def _group(node: Node, pod: Any) -> Path:
    top = Path("/sys/fs/cgroup/pids")
    return (top if top.is_dir() else top.parent) / "binderops" / node.name / str(pod["metadata"]["uid"])
