"""Pods outlive the node's process, the engine's service, and a stop of the whole node."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.node.pods.conftest import Node, ended, logs_of, status_of
from tests.podman.tiny import TINY

from binderops.errors import EngineError, KubernetesError
from binderops.kube.client import Client
from binderops.kube.kinds import EVENT, POD
from binderops.kube.objects import is_pod_ready
from binderops.node.pods import exits
from binderops.podman import Podman
from binderops.podman.commands import run
from binderops.podman.mounts import mounts

pytestmark = [pytest.mark.podman, pytest.mark.root]


async def test_a_restarted_node_finds_its_pods_again(client: Client, make: Any, wait_for: Any, node: Node) -> None:
    await make("lasting", "echo once; sleep 1000")
    await make("short", "sleep 2", restartPolicy="Never")
    before = await wait_for("lasting", is_pod_ready)
    await wait_for("short", is_pod_ready)
    node.end(signal.SIGKILL)
    node.start()
    after = await wait_for("short", ended)
    assert after["status"]["phase"] == "Succeeded"
    after = await wait_for("lasting", is_pod_ready)
    assert status_of(after)["containerID"] == status_of(before)["containerID"]
    assert status_of(after)["restartCount"] == 0
    assert after["status"]["podIP"] == before["status"]["podIP"]
    assert await logs_of(client, "lasting") == "once\n"


async def test_a_container_that_a_power_cut_tore_is_made_anew_and_keeps_no_other_pod(
    make: Any, wait_for: Any, node: Node
) -> None:
    await make("whole")
    await make("torn")
    before = await wait_for("whole", is_pod_ready)
    lost = status_of(await wait_for("torn", is_pod_ready))["containerID"].removeprefix("podman://")
    node.end(signal.SIGKILL)
    async with Podman(node.socket) as podman:
        found = await podman.containers.inspect(lost)
        os.kill(found["State"]["Pid"], signal.SIGKILL)
        await _noted(podman, found)
        # What the disk had not been given yet is empty after a power cut.
        (Path(found["GraphDriver"]["Data"]["UpperDir"]).parent / "lower").write_text("")
        with pytest.raises(EngineError, match="graph driver"):
            await podman.containers.inspect(lost)
    node.start()
    after = await wait_for("torn", lambda pod: is_pod_ready(pod) and not status_of(pod)["containerID"].endswith(lost))
    assert status_of(after)["state"]["running"]
    after = await wait_for("whole", is_pod_ready)
    assert status_of(after)["containerID"] == status_of(before)["containerID"]


async def _noted(podman: Podman, found: dict[str, Any]) -> None:
    """Until a container's process and its monitor are gone, and the engine says that it does not run.

    `containers.wait` waits in vain: it asks for the state after the engine's clean-up, and that stays at "stopped".
    """
    async with asyncio.timeout(20):
        assert await exits.ended(found["State"]["Pid"]) and await exits.ended(found["State"]["ConmonPid"])
        while (await podman.containers.inspect(found["Id"]))["State"]["Running"]:
            await asyncio.sleep(0.05)


async def test_a_finished_pod_is_not_run_again(client: Client, make: Any, wait_for: Any, node: Node) -> None:
    await make("once", "echo once; exit 3", restartPolicy="Never")
    await wait_for("once", ended)
    node.end()
    node.start()
    async with asyncio.timeout(15):
        while True:
            try:
                assert await logs_of(client, "once") == "once\n"
                break
            except KubernetesError:  # the kubelet's endpoint comes a moment after the API
                await asyncio.sleep(0.1)
    pod = await client.get(POD, "once", "default")
    assert (pod["status"]["phase"], status_of(pod)["state"]["terminated"]["exitCode"]) == ("Failed", 3)


async def test_a_stopped_node_starts_its_pods_again(client: Client, make: Any, wait_for: Any, node: Node) -> None:
    init = [{"name": "first", "image": TINY, "command": ["true"]}]
    await make("again", initContainers=init)
    await make("single", restartPolicy="Never")
    before = await wait_for("again", is_pod_ready)
    await wait_for("single", is_pod_ready)
    node.end()
    await run(node.command("stop"), environment=node.environment, timeout=60)
    assert not [mount for mount in mounts() if mount.point.startswith(str(node.run))]
    node.start()
    single = await wait_for("single", ended)
    assert status_of(single)["state"]["terminated"]["reason"] == "ContainerStatusUnknown"
    after = await wait_for("again", lambda pod: is_pod_ready(pod) and status_of(pod)["restartCount"] == 1)
    assert status_of(after)["containerID"] != status_of(before)["containerID"]


async def test_a_restarted_node_knows_no_back_off(client: Client, make: Any, wait_for: Any, node: Node) -> None:
    once = "[ -e /d/x ] || { touch /d/x; exit 1; }; sleep 1000"
    mounts = {"volumeMounts": [{"name": "d", "mountPath": "/d"}]}
    await make("twice", once, container=mounts, volumes=[{"name": "d", "emptyDir": {}}])
    before = await wait_for("twice", lambda pod: is_pod_ready(pod) and status_of(pod)["restartCount"] == 1)
    node.end()
    node.start()
    async with Podman(node.socket) as podman:
        found = await podman.containers.inspect(status_of(before)["containerID"].removeprefix("podman://"))
    os.kill(int(found["State"]["Pid"]), signal.SIGKILL)
    await wait_for("twice", lambda pod: is_pod_ready(pod) and status_of(pod)["restartCount"] == 2)
    events = await client.list(EVENT, "default", fields=f"involvedObject.uid={before['metadata']['uid']}")
    assert [event for event in events.items if event["reason"] == "BackOff"] == []


@pytest.mark.parametrize("policy", ["Always", "Never"])
async def test_a_container_whose_monitor_was_killed_is_ended_and_its_policy_decides(
    client: Client, make: Any, wait_for: Any, node: Node, policy: str
) -> None:
    name = f"unwatched-{policy.lower()}"
    await make(name, "echo begun; sleep 1000", restartPolicy=policy)
    before = await wait_for(name, is_pod_ready)
    identity = status_of(before)["containerID"].removeprefix("podman://")
    async with Podman(node.socket) as podman:
        state = (await podman.containers.inspect(identity))["State"]
    os.kill(state["ConmonPid"], signal.SIGKILL)
    if policy == "Always":
        after = await wait_for(name, lambda pod: is_pod_ready(pod) and status_of(pod)["restartCount"] == 1)
        assert status_of(after)["lastState"]["terminated"]["exitCode"] == 137
        assert await logs_of(client, name) == "begun\n"
    else:
        after = await wait_for(name, ended)
        assert after["status"]["phase"] == "Failed"
        assert status_of(after)["state"]["terminated"]["exitCode"] == 137
    assert await exits.ended(state["Pid"], timeout=0)
    events = await client.list(EVENT, "default", fields=f"involvedObject.uid={before['metadata']['uid']}")
    assert [
        (each["type"], "conmon" in each["message"]) for each in events.items if each["reason"] == "MonitorLost"
    ] == [("Warning", True)]


async def test_a_monitor_killed_while_the_node_is_away_is_missed_at_its_start(
    make: Any, wait_for: Any, node: Node
) -> None:
    await make("away")
    before = await wait_for("away", is_pod_ready)
    node.end(signal.SIGKILL)
    async with Podman(node.socket) as podman:
        found = await podman.containers.inspect(status_of(before)["containerID"].removeprefix("podman://"))
    os.kill(found["State"]["ConmonPid"], signal.SIGKILL)
    node.start()
    after = await wait_for("away", lambda pod: is_pod_ready(pod) and status_of(pod)["restartCount"] == 1)
    assert status_of(after)["containerID"] != status_of(before)["containerID"]
    assert await exits.ended(found["State"]["Pid"], timeout=0)


async def test_a_killed_engine_is_started_again(client: Client, make: Any, wait_for: Any, node: Node) -> None:
    await make("steady")
    before = await wait_for("steady", is_pod_ready)
    pid = int((node.run / node.name / "podman" / "podman.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    later = await make("later", "true", restartPolicy="Never")
    assert (await wait_for("later", ended))["status"]["phase"] == "Succeeded"
    told = await client.list(EVENT, "default", fields=f"involvedObject.uid={later['metadata']['uid']}")
    assert "Failed" not in {event["reason"] for event in told.items}, "who waits for the pod need not give it up"
    after = await wait_for("steady", is_pod_ready)
    assert status_of(after)["containerID"] == status_of(before)["containerID"]


async def test_what_ends_while_the_engine_is_away_keeps_its_exit_code(make: Any, wait_for: Any, node: Node) -> None:
    await make("told", "trap 'exit 0' TERM; sleep 1000 & echo begun; wait", restartPolicy="Never")
    before = await wait_for("told", is_pod_ready)
    async with Podman(node.socket) as podman:
        found = await podman.containers.inspect(status_of(before)["containerID"].removeprefix("podman://"))
        async with asyncio.timeout(20):
            while b"begun" not in b"".join([piece async for piece in podman.containers.logs(found["Id"])]):
                await asyncio.sleep(0.05)
    os.kill(int((node.run / node.name / "podman" / "podman.pid").read_text()), signal.SIGKILL)
    os.kill(found["State"]["Pid"], signal.SIGTERM)
    after = await wait_for("told", ended)
    assert (after["status"]["phase"], status_of(after)["state"]["terminated"]["exitCode"]) == ("Succeeded", 0)
