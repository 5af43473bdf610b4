"""Pods through the real API, network and engine."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest
from tests.node.pods.conftest import Node, delete, ended, logs_of, status_of
from tests.podman.tiny import TINY

from binderops.errors import NotFoundError
from binderops.kube.client import Client
from binderops.kube.kinds import (
    CONFIG_MAP,
    EVENT,
    NODE,
    POD,
)
from binderops.kube.objects import is_condition_true, is_pod_ready
from binderops.node.pods.identity import range_of
from binderops.podman.hooks import INSTANCES, NAMESPACES, WATCHES
from binderops.podman.mounts import mounts

pytestmark = [pytest.mark.podman, pytest.mark.root]

Pod = dict[str, Any]


async def test_the_node_is_registered(client: Client, node: Node) -> None:
    async with asyncio.timeout(20):
        while not (nodes := (await client.list(NODE)).items) or not is_condition_true(nodes[0], "Ready"):
            await asyncio.sleep(0.05)
    (found,) = nodes
    assert found["metadata"]["name"] == node.name
    assert found["status"]["addresses"][0] == {"type": "InternalIP", "address": node.config.bridge_address}
    info = found["status"]["nodeInfo"]
    assert info["containerRuntimeVersion"].startswith("podman://")
    assert info["kubeletVersion"] == (await client.request("GET", "/version"))["gitVersion"]
    assert int(found["status"]["allocatable"]["memory"].removesuffix("Ki")) > 0


async def test_a_pod_runs_is_ready_and_tells_its_address(client: Client, make: Any, wait_for: Any, node: Node) -> None:
    probe = {"httpGet": {"port": "web", "path": "/"}}
    container = {"readinessProbe": probe, "ports": [{"name": "web", "containerPort": 8080}]}
    await make("runs", "echo hello > /www/index.html; exec httpd -f -p 8080 -h /www", container=container)
    pod = await wait_for("runs", is_pod_ready)
    status = pod["status"]
    assert status["phase"] == "Running"
    assert status["hostIP"] == node.config.bridge_address
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    assert status_of(pod)["containerID"].startswith("podman://")
    assert re.search(r"@?sha256:[0-9a-f]{64}$", status_of(pod)["imageID"])
    for condition in ("PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"):
        assert is_condition_true(pod, condition), condition
    reader, writer = await asyncio.open_connection(status["podIP"], 8080)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    assert b"hello" in await reader.read()
    writer.close()


async def test_exit_codes_messages_and_phases(make: Any, wait_for: Any) -> None:
    await make("good", "echo fine > /dev/termination-log", restartPolicy="Never")
    await make("bad", "exit 7", restartPolicy="Never")
    words = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    await make("words", "echo first; printf 'last '; echo words; exit 1", restartPolicy="Never", container=words)
    await make("nothing", restartPolicy="Never", container={"command": ["/no/such/program"]})
    good, bad = await wait_for("good", ended), await wait_for("bad", ended)
    assert good["status"]["phase"] == "Succeeded"
    terminated = status_of(good)["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"], terminated["message"]) == (0, "Completed", "fine\n")
    assert bad["status"]["phase"] == "Failed"
    assert status_of(bad)["state"]["terminated"]["exitCode"] == 7
    assert status_of(bad)["state"]["terminated"]["reason"] == "Error"
    worded = await wait_for("words", ended)
    assert status_of(worded)["state"]["terminated"]["message"] == "first\nlast words\n"
    nothing = await wait_for("nothing", ended)
    assert status_of(nothing)["state"]["terminated"]["reason"] == "StartError"
    assert "no such file" in status_of(nothing)["state"]["terminated"]["message"]


async def test_events_tell_each_step_even_of_what_ends_at_once(client: Client, make: Any, wait_for: Any) -> None:
    await make("brief", "true", restartPolicy="Never")
    pod = await wait_for("brief", ended)
    assert (status_of(pod)["ready"], status_of(pod)["started"]) == (False, False)
    ready = next(entry for entry in pod["status"]["conditions"] if entry["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodCompleted")
    expected = {"Scheduled", "Pulled", "Created", "Started"}
    async with asyncio.timeout(10):
        while True:
            events = (await client.list(EVENT, "default", fields="involvedObject.name=brief")).items
            if expected <= {str(event["reason"]) for event in events}:
                return
            await asyncio.sleep(0.05)


async def test_a_pod_past_its_deadline_is_ended(make: Any, wait_for: Any) -> None:
    """Its containers are told as ended: those that ran, and those that were still being started."""
    await make("late", activeDeadlineSeconds=2)
    waiting = {"name": "waits", "image": "localhost/none:1", "imagePullPolicy": "Never"}
    await make("later", activeDeadlineSeconds=2, more=[waiting])
    late, later = await wait_for("late", ended), await wait_for("later", ended)
    for pod in (late, later):
        assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")
        terminated = status_of(pod)["state"]["terminated"]
        assert terminated["exitCode"] == 137 and terminated["finishedAt"]
        assert (status_of(pod)["ready"], status_of(pod)["started"]) == (False, False)
    assert status_of(later, "waits")["state"]["terminated"]["reason"] == "ContainerStatusUnknown"


async def test_a_deadline_does_not_wait_for_a_pull(make: Any, wait_for: Any) -> None:
    released = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as registry:
        port = registry.sockets[0].getsockname()[1]
        try:
            await make("pulls", activeDeadlineSeconds=1, container={"image": f"127.0.0.1:{port}/a:1"})
            pod = await wait_for("pulls", ended, seconds=10)
        finally:
            released.set()
    assert pod["status"]["reason"] == "DeadlineExceeded"
    assert status_of(pod)["state"]["terminated"]["reason"] == "ContainerStatusUnknown"


async def test_memory_limit(make: Any, wait_for: Any) -> None:
    hungry = "sleep 0.3; x=a; while true; do x=$x$x; done"
    await make("hungry", hungry, restartPolicy="Never", container={"resources": {"limits": {"memory": "16Mi"}}})
    pod = await wait_for("hungry", ended)
    assert status_of(pod)["state"]["terminated"]["reason"] == "OOMKilled"
    assert status_of(pod)["state"]["terminated"]["exitCode"] == 137


async def test_init_containers_and_sidecars_run_in_order(client: Client, make: Any, wait_for: Any) -> None:
    mount = [{"name": "shared", "mountPath": "/shared"}]

    def step(name: str, script: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "image": TINY, "command": ["sh", "-c", script], "volumeMounts": mount, **more}

    await make(
        "ordered",
        "echo main >> /shared/order; cat /shared/order",
        volumes=[{"name": "shared", "emptyDir": {}}],
        restartPolicy="Never",
        container={"volumeMounts": mount},
        initContainers=[
            step("first", "sleep 0.2; echo first >> /shared/order"),
            step("side", "echo side >> /shared/order; sleep 1000", restartPolicy="Always"),
            step("second", "echo second >> /shared/order"),
        ],
    )
    pod = await wait_for("ordered", ended)
    assert pod["status"]["phase"] == "Succeeded"
    lines = (await logs_of(client, "ordered", container="main")).split()
    assert lines[0] == "first" and lines[-1] == "main" and set(lines) == {"first", "side", "second", "main"}
    assert status_of(pod, "first", kind="initContainerStatuses")["ready"] is True


async def test_a_failing_init_container_fails_the_pod(make: Any, wait_for: Any) -> None:
    init = [{"name": "broken", "image": TINY, "command": ["false"]}]
    await make("unlucky", initContainers=init, restartPolicy="Never")
    pod = await wait_for("unlucky", ended)
    assert pod["status"]["phase"] == "Failed"
    assert status_of(pod)["state"]["waiting"]["reason"] == "PodInitializing"


async def test_crash_loop(client: Client, make: Any, wait_for: Any) -> None:
    await make("crashes", "echo try; exit 2")
    pod = await wait_for(
        "crashes", lambda pod: status_of(pod).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"
    )
    status = status_of(pod)
    assert status["restartCount"] >= 1
    assert status["lastState"]["terminated"]["exitCode"] == 2
    assert pod["status"]["phase"] == "Running"
    assert await logs_of(client, "crashes", previous=True) == "try\n"


async def test_liveness_restarts_and_startup_holds_back(make: Any, wait_for: Any) -> None:
    liveness = {"exec": {"command": ["test", "!", "-e", "/tmp/sick"]}, "periodSeconds": 1, "failureThreshold": 1}
    startup = {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 30}
    script = "sleep 0.4; touch /tmp/up; sleep 0.6; touch /tmp/sick; sleep 1000"
    await make("sick", script, container={"livenessProbe": liveness, "startupProbe": startup})
    pod = await wait_for("sick", lambda pod: status_of(pod).get("started") is True)
    assert status_of(pod)["ready"] is True
    pod = await wait_for("sick", lambda pod: status_of(pod).get("restartCount", 0) == 1)
    assert status_of(pod)["lastState"]["terminated"]["exitCode"] == 137


async def test_what_is_missing_is_named_and_waited_for(client: Client, make: Any, wait_for: Any) -> None:
    env = [{"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "colour"}}}]
    await make("waits", "echo $COLOUR", restartPolicy="Never", container={"env": env})

    def explained(pod: Pod) -> bool:
        waiting = status_of(pod).get("state", {}).get("waiting", {})
        return waiting.get("reason") == "CreateContainerConfigError" and '"late" not found' in waiting["message"]

    await wait_for("waits", explained)
    meta = {"name": "late", "namespace": "default"}
    await client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"colour": "green"}})
    await wait_for("waits", ended)
    assert await logs_of(client, "waits") == "green\n"
    await client.delete(CONFIG_MAP, "late", "default")


async def test_images_that_cannot_be_had(make: Any, wait_for: Any) -> None:
    await make("absent", container={"image": "127.0.0.1:9/none:1"})
    await make("never", container={"image": "localhost/none:1", "imagePullPolicy": "Never"})
    await make("invalid", container={"image": "UPPER"})

    def reason(pod: Pod) -> str:
        return str(status_of(pod).get("state", {}).get("waiting", {}).get("reason"))

    await wait_for("absent", lambda pod: reason(pod) == "ErrImagePull")
    pod = await wait_for("absent", lambda pod: reason(pod) == "ImagePullBackOff")
    assert "connection refused" in status_of(pod)["state"]["waiting"]["message"]
    await wait_for("never", lambda pod: reason(pod) == "ErrImageNeverPull")
    await wait_for("invalid", lambda pod: reason(pod) == "InvalidImageName")


async def test_security_context(client: Client, make: Any, wait_for: Any) -> None:
    container = {
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
        },
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    script = (
        "id; touch /x 2>/dev/null || echo readonly; touch /data/f && ls -ln /data/f; "
        "cat /proc/self/status | head -60 | while read k v; do case $k in CapBnd:|NoNewPrivs:) echo $k$v;; esac; done"
    )
    await make(
        "secure",
        script,
        restartPolicy="Never",
        container=container,
        volumes=[{"name": "data", "emptyDir": {}}],
        securityContext={"runAsUser": 1000, "runAsGroup": 100, "fsGroup": 300, "supplementalGroups": [400]},
    )
    await make("root", "true", restartPolicy="Never", securityContext={"runAsNonRoot": True})
    await wait_for("secure", ended)
    text = await logs_of(client, "secure")
    assert "uid=1000(jovyan) gid=100(users)" in text and "300" in text and "400" in text
    assert "readonly" in text and re.search(r"1000 +300 ", text)
    assert "CapBnd:0000000000000000" in text and "NoNewPrivs:1" in text
    pod = await wait_for("root", lambda pod: bool(status_of(pod).get("state", {}).get("waiting")))
    pod = await wait_for(
        "root",
        lambda pod: status_of(pod).get("state", {}).get("waiting", {}).get("reason") == "CreateContainerConfigError",
    )
    assert "will run as root" in status_of(pod)["state"]["waiting"]["message"]


async def test_a_user_namespace_of_its_own(client: Client, make: Any, wait_for: Any, node: Node) -> None:
    container = {
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}, "seccompProfile": {"type": "Unconfined"}},
    }
    script = (
        "id; cat /proc/self/uid_map; ls -ldn /data; touch /data/f; mount -t tmpfs none /tmp && echo mounted; ls /sys; "
        "echo by its name > /dev/stdout; "
        "cd /proc/sys/user; for limit in max_inotify_instances max_inotify_watches max_net_namespaces; do "
        "echo $limit $(cat $limit); done"
    )
    pod = await make(
        "shifted",
        script,
        restartPolicy="Never",
        hostUsers=False,
        volumes=[{"name": "data", "emptyDir": {}}],
        container=container,
    )
    await wait_for("shifted", ended)
    text = await logs_of(client, "shifted")
    users = range_of(pod, node.config.user_namespace)
    assert users and users != node.config.user_namespace
    assert re.search(rf"0 +{users[0]} +65536", text), text
    # What the kernel keeps by user is the pod's alone, and does not count against the machine's own services.
    assert f"max_inotify_instances {INSTANCES}\nmax_inotify_watches {WATCHES}\nmax_net_namespaces {NAMESPACES}" in text
    assert "by its name" in text
    assert "uid=0" in text and "mounted" in text and "kernel" in text
    assert re.search(r"drwxrwxrwx +\d+ 0 +0 ", text), text


async def test_a_folder_that_pods_only_read_is_shown_under_the_ids_of_each(
    client: Client, make: Any, wait_for: Any, node: Node, tmp_path: Path
) -> None:
    shared = node.config.user_namespace
    (tmp_path / "f").write_text("the machine's\n")
    for path, owner in ((tmp_path, shared[0]), (tmp_path / "f", shared[0] + 7)):
        os.chown(path, owner, owner)
    volume = {"name": "data", "hostPath": {"path": str(tmp_path), "type": "Directory"}}
    script = "ls -ln /data/f; cat /data/f; touch /data/f || echo refused; cat /proc/self/uid_map; sleep 1000"
    firsts = []
    for name, read_only in (("reads", True), ("also-reads", True), ("writes", False)):
        mount = {"name": "data", "mountPath": "/data", "readOnly": read_only}
        await make(name, script, hostUsers=False, volumes=[volume], container={"volumeMounts": [mount]})
        await wait_for(name, is_pod_ready)
        async with asyncio.timeout(20):
            while not (found := re.search(r"^ +0 +(\d+) +65536$", text := await logs_of(client, name), re.MULTILINE)):
                await asyncio.sleep(0.05)
        assert re.search(r" 7 +7 .*/data/f\nthe machine's", text), text
        assert ("refused" in text) is read_only, text
        firsts.append(int(found[1]))
    assert len(set(firsts)) == 3 and firsts[2] == shared[0], "a folder that is written has owners that last"

    def shown() -> int:
        points = [mount.point for mount in mounts()]
        return sum(point.startswith(f"{node.state}/nodes/{node.name}/pods/") and "/shown/" in point for point in points)

    for name, left in (("reads", 1), ("also-reads", 0)):
        await delete(client, await client.get(POD, name, "default"), seconds=10)
        async with asyncio.timeout(20):
            while shown() != left:
                await asyncio.sleep(0.05)
    assert (tmp_path / "f").read_text() == "the machine's\n"


async def test_refused_by_name(client: Client, make: Any, wait_for: Any) -> None:
    await make("hosted", hostNetwork=True)
    await make("elsewhere", nodeSelector={"no": "such"})
    for purpose in ("core", "user"):  # which one label of one node cannot both be
        await make(purpose, nodeSelector={"hub.jupyter.org/node-purpose": purpose})

    def refused(pod: Pod) -> bool:
        return any(
            entry["type"] == "PodScheduled" and entry["status"] == "False"
            for entry in (pod.get("status") or {}).get("conditions") or []
        )

    pod = await wait_for("hosted", refused)
    assert "spec.hostNetwork" in pod["status"]["conditions"][0]["message"]
    assert pod["status"]["phase"] == "Pending"
    pod = await wait_for("elsewhere", refused)
    message = pod["status"]["conditions"][0]["message"]
    assert "didn't match Pod's node affinity/selector. It wants no=such; the only node, " in message
    assert "kubernetes.io/os=linux" in message and "kubectl label node" in message
    for purpose in ("core", "user"):
        await wait_for(purpose, is_pod_ready)
    events = (await client.list(EVENT, "default", fields="involvedObject.name=hosted")).items
    assert any(event["reason"] == "FailedScheduling" for event in events)


async def test_a_gated_pod_waits_for_its_gates(client: Client, make: Any, wait_for: Any) -> None:
    pod = await make("gated", schedulingGates=[{"name": "example.com/wait"}], nodeSelector={"no": "such"})
    await make("free")
    await wait_for("free", is_pod_ready)  # the binder has looked at both
    pod = await client.get(POD, "gated", "default")
    (condition,) = pod["status"]["conditions"]
    assert (pod["status"]["phase"], condition["type"], condition["status"]) == ("Pending", "PodScheduled", "False")
    assert (condition["reason"], bool(condition["lastTransitionTime"])) == ("SchedulingGated", True)
    assert not pod["spec"].get("nodeName")
    await client.patch(POD, "gated", "default", {"spec": {"schedulingGates": []}}, how="merge")
    await wait_for("gated", lambda pod: "It wants no=such" in pod["status"]["conditions"][0].get("message", ""))


async def test_a_pod_that_ends_well_within_its_grace(client: Client, make: Any, wait_for: Any, node: Node) -> None:
    script = "trap 'echo bye; exit 0' TERM; while true; do sleep 0.05; done"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /dev/null"]}}}
    pod = await make("polite", script, container={"lifecycle": hook}, terminationGracePeriodSeconds=30)
    await wait_for("polite", is_pod_ready)
    uid = pod["metadata"]["uid"]
    await delete(client, pod, seconds=10)
    with pytest.raises(NotFoundError):
        await client.get(POD, "polite", "default")
    assert not (node.state / "nodes" / node.name / "pods" / uid).exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/binderops/{node.name}/{uid}"))


async def test_a_grace_period_can_be_shortened(client: Client, make: Any, wait_for: Any) -> None:
    pod = await make("stubborn", "trap '' TERM; while true; do sleep 0.05; done", terminationGracePeriodSeconds=60)
    await wait_for("stubborn", is_pod_ready)
    await client.delete(POD, "stubborn", "default")
    assert (await client.get(POD, "stubborn", "default"))["metadata"]["deletionGracePeriodSeconds"] == 60
    await delete(client, pod, seconds=10, grace=1)
    with pytest.raises(NotFoundError):
        await client.get(POD, "stubborn", "default")


async def test_active_deadline(make: Any, wait_for: Any) -> None:
    await make("slow", activeDeadlineSeconds=1, restartPolicy="Never")
    pod = await wait_for("slow", ended)
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")


async def test_post_start_that_fails_kills_the_container(make: Any, wait_for: Any) -> None:
    hook = {"postStart": {"exec": {"command": ["false"]}}}
    await make("hooked", restartPolicy="Never", container={"lifecycle": hook})
    pod = await wait_for("hooked", ended)
    assert status_of(pod)["state"]["terminated"]["exitCode"] == 137
