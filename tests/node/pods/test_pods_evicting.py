"""Pods that keep too much on disk, on a real node: ended at once, named, and what they kept is free again."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from tests.node.pods.conftest import Node, events_of, is_running

from binderops.kube.client import Client
from binderops.node.pods.evicting import LOOK_SECONDS
from binderops.node.pods.resources import PIDS

pytestmark = [pytest.mark.podman, pytest.mark.root]

LIMIT = {"resources": {"limits": {"ephemeral-storage": "20Mi"}}}
FILL = "dd if=/dev/zero of={place} bs=1048576 count=60 2>/dev/null; sleep 1000"


@pytest.mark.parametrize(
    ("name", "script", "more", "why"),
    [
        ("layer", FILL.format(place="/tmp/f"), {"container": LIMIT}, "total limit of containers 20Mi"),
        (
            "unlinked",  # no du sees it
            "exec 3> /tmp/f; busybox rm /tmp/f; dd if=/dev/zero bs=1048576 count=60 >&3; sleep 1000",
            {"container": LIMIT},
            "total limit of containers 20Mi",
        ),
        (
            "volume",
            FILL.format(place="/v/f"),
            {
                "container": {"volumeMounts": [{"name": "v", "mountPath": "/v"}]},
                "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "20Mi"}}],
            },
            'EmptyDir volume "v" exceeds the limit "20Mi"',
        ),
    ],
)
async def test_a_pod_that_keeps_too_much_is_evicted_and_named(
    client: Client, make: Any, wait_for: Any, node: Node, name: str, script: str, more: dict[str, Any], why: str
) -> None:
    pod = await make(f"evicted-{name}", script, restartPolicy="Never", **more)
    gone = await wait_for(f"evicted-{name}", lambda pod: pod["status"].get("phase") == "Failed", seconds=30)
    assert gone["status"]["reason"] == "Evicted"
    assert why in gone["status"]["message"]
    events = await events_of(client, pod)
    assert [e["type"] for e in events if e["reason"] == "Evicted" and why in e["message"]] == ["Warning"]


async def test_what_others_free_meanwhile_hides_nothing(make: Any, wait_for: Any, node: Node) -> None:
    others = node.state / "others"
    with others.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 60 << 20)
    volume = {"name": "v", "emptyDir": {}}
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    script = "until test -e /v/go; do sleep 0.05; done; " + FILL.format(place="/tmp/f")
    pod = await make("hidden", script, container=LIMIT | mount, volumes=[volume], restartPolicy="Never")
    await wait_for("hidden", is_running)
    await asyncio.sleep(LOOK_SECONDS * 2)  # the file of the others is part of what was last seen
    [go] = node.state.glob(f"nodes/*/**/{pod['metadata']['uid']}/volumes/v")
    (go / "go").touch()
    others.unlink()
    gone = await wait_for("hidden", lambda pod: pod["status"].get("phase") == "Failed", seconds=30)
    assert gone["status"]["reason"] == "Evicted"


async def test_below_its_limit_a_pod_stays(make: Any, wait_for: Any) -> None:
    script = "dd if=/dev/zero of=/tmp/f bs=1048576 count=15 2>/dev/null; echo written; sleep 4; echo alive"
    await make("within", script, container=LIMIT, restartPolicy="Never")
    pod = await wait_for("within", lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"))
    assert pod["status"]["phase"] == "Succeeded", pod["status"]


async def test_a_pods_processes_are_limited_as_a_whole(make: Any, wait_for: Any, node: Node) -> None:
    pod = await make("forks", "sleep 1000")
    await wait_for("forks", is_running)
    group = Path("/sys/fs/cgroup/pids/binderops") / node.name
    if not group.is_dir():
        group = Path("/sys/fs/cgroup/binderops") / node.name
    assert int((group / pod["metadata"]["uid"] / "pids.max").read_text()) == PIDS
    assert int((group / "pids.max").read_text()) < int(Path("/proc/sys/kernel/pid_max").read_text())
