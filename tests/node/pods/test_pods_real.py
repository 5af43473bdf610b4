"""Pods through the real API, network and engine."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.node.pods.conftest import Node, delete
from tests.podman.tiny import TINY

from binderops.errors import KubernetesError, NotFoundError
from binderops.kube.client import Client
from binderops.kube.kinds import (
    CONFIG_MAP,
    EVENT,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    SECRET,
)
from binderops.kube.objects import is_condition_true, is_pod_ready
from binderops.podman.commands import run
from binderops.podman.mounts import mounts

pytestmark = [pytest.mark.podman, pytest.mark.root]

Pod = dict[str, Any]
FINISHED = ("Succeeded", "Failed")


def status_of(pod: Pod, container: str = "main", *, kind: str = "containerStatuses") -> dict[str, Any]:
    found = [entry for entry in (pod.get("status") or {}).get(kind) or [] if entry["name"] == container]
    return found[0] if found else {}


def ended(pod: Pod) -> bool:
    return (pod.get("status") or {}).get("phase") in FINISHED


async def logs_of(client: Client, name: str, **options: Any) -> str:
    return b"".join([piece async for piece in client.logs(name, "default", **options)]).decode()


async def test_the_node_is_registered(client: Client, node: Node) -> None:
    found = await client.get(NODE, node.name)
    assert is_condition_true(found, "Ready")
    assert found["status"]["addresses"][0] == {"type": "InternalIP", "address": node.config.bridge_address}
    assert found["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("podman://")
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
    await make("words", "echo last words; exit 1", restartPolicy="Never", container=words)
    await make("nothing", restartPolicy="Never", container={"command": ["/no/such/program"]})
    good, bad = await wait_for("good", ended), await wait_for("bad", ended)
    assert good["status"]["phase"] == "Succeeded"
    terminated = status_of(good)["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"], terminated["message"]) == (0, "Completed", "fine\n")
    assert bad["status"]["phase"] == "Failed"
    assert status_of(bad)["state"]["terminated"]["exitCode"] == 7
    assert status_of(bad)["state"]["terminated"]["reason"] == "Error"
    worded = await wait_for("words", ended)
    assert status_of(worded)["state"]["terminated"]["message"] == "last words"
    nothing = await wait_for("nothing", ended)
    assert status_of(nothing)["state"]["terminated"]["reason"] == "StartError"
    assert "no such file" in status_of(nothing)["state"]["terminated"]["message"]


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


async def test_volumes_and_their_updates(client: Client, make: Any, wait_for: Any, node: Node) -> None:
    meta = {"name": "settings", "namespace": "default"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"colour": "red", "deep": "x"}}
    await client.create(config)
    secret_meta = {"name": "hidden", "namespace": "default"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": secret_meta, "stringData": {"key": "s3cret"}}
    await client.create(secret)
    volumes = [
        {"name": "config", "configMap": {"name": "settings", "items": [{"key": "colour", "path": "a/colour"}]}},
        {"name": "secret", "secret": {"secretName": "hidden", "defaultMode": 0o400}},
        {"name": "none", "secret": {"secretName": "absent", "optional": True}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"configMap": {"name": "settings"}},
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                ]
            },
        },
    ]
    mounts = [{"name": volume["name"], "mountPath": f"/v/{volume['name']}"} for volume in volumes]
    mounts.append({"name": "all", "mountPath": "/single", "subPath": "colour"})
    script = (
        "cat /v/config/a/colour /v/secret/key /v/down/labels /single; ls -l /v/secret/..data/; ls /v/none; "
        "dd if=/dev/zero of=/v/memory/big bs=1k count=2000 2>/dev/null || echo full; touch /v/config/no || echo ro; "
        "cat /v/all/token | wc -c; while [ $(cat /v/config/a/colour) = red ]; do sleep 0.1; done; echo changed"
    )
    try:
        await make(
            "volumes",
            script,
            metadata={"labels": {"tier": "one"}},
            volumes=volumes,
            restartPolicy="Never",
            container={"volumeMounts": mounts},
        )
        await wait_for("volumes", lambda pod: pod["status"].get("phase") == "Running")
        await client.patch(CONFIG_MAP, "settings", "default", {"data": {"colour": "blue"}})
        pod = await wait_for("volumes", ended)
        text = await logs_of(client, "volumes")
        assert pod["status"]["phase"] == "Succeeded", text
        assert text.startswith('reds3crettier="one"red')
        assert "-r--------" in text and "full" in text and "ro\n" in text and "changed" in text
        sizes = [int(line) for line in text.splitlines() if line.strip().isdigit()]
        assert sizes and sizes[0] > 100, "a token"
    finally:
        await client.delete(CONFIG_MAP, "settings", "default")
        await client.delete(SECRET, "hidden", "default")
    leaks = [path for path in (node.state / "nodes" / node.name / "pods").rglob("*") if path.is_file()]
    assert not [path for path in leaks if b"s3cret" in path.read_bytes()], "a Secret reached the disk"


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
        "id; cat /proc/self/uid_map; ls -ldn /data; touch /data/f; mount -t tmpfs none /tmp && echo mounted; ls /sys"
    )
    await make(
        "shifted",
        script,
        restartPolicy="Never",
        hostUsers=False,
        volumes=[{"name": "data", "emptyDir": {}}],
        container=container,
    )
    await wait_for("shifted", ended)
    text = await logs_of(client, "shifted")
    assert re.search(r"0 +200000 +65536", text), text
    assert "uid=0" in text and "mounted" in text and "kernel" in text
    assert re.search(r"drwxrwxrwx +\d+ 0 +0 ", text), text


async def test_refused_by_name(client: Client, make: Any, wait_for: Any) -> None:
    await make("hosted", hostNetwork=True)
    await make("elsewhere", nodeSelector={"no": "such"})

    def refused(pod: Pod) -> bool:
        return any(
            entry["type"] == "PodScheduled" and entry["status"] == "False"
            for entry in (pod.get("status") or {}).get("conditions") or []
        )

    pod = await wait_for("hosted", refused)
    assert "spec.hostNetwork" in pod["status"]["conditions"][0]["message"]
    assert pod["status"]["phase"] == "Pending"
    pod = await wait_for("elsewhere", refused)
    assert "node selector" in pod["status"]["conditions"][0]["message"]
    events = (await client.list(EVENT, "default", fields="involvedObject.name=hosted")).items
    assert any(event["reason"] == "FailedScheduling" for event in events)


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


async def test_active_deadline(make: Any, wait_for: Any) -> None:
    await make("slow", activeDeadlineSeconds=1, restartPolicy="Never")
    pod = await wait_for("slow", ended)
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")


async def test_post_start_that_fails_kills_the_container(make: Any, wait_for: Any) -> None:
    hook = {"postStart": {"exec": {"command": ["false"]}}}
    await make("hooked", restartPolicy="Never", container={"lifecycle": hook})
    pod = await wait_for("hooked", ended)
    assert status_of(pod)["state"]["terminated"]["exitCode"] == 137


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


async def test_claims_and_host_paths(client: Client, make: Any, wait_for: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pv"
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "tested"},
        "spec": {
            "capacity": {"storage": "1Mi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(folder), "type": "DirectoryOrCreate"},
            "claimRef": {"namespace": "default", "name": "tested", "kind": "PersistentVolumeClaim", "apiVersion": "v1"},
            "storageClassName": "",
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "tested", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}},
            "storageClassName": "",
            "volumeName": "tested",
        },
    }
    await client.create(volume)
    await client.create(claim)
    try:
        await make(
            "claims",
            "echo kept > /data/deep/file; id -G; ls -ln /data; test ! -w /host/name && cat /host/name",
            restartPolicy="Never",
            securityContext={"fsGroup": 300, "runAsUser": 1000},
            volumes=[
                {"name": "claim", "persistentVolumeClaim": {"claimName": "tested"}},
                {"name": "host", "hostPath": {"path": "/etc/hostname", "type": "File"}},
            ],
            container={
                "volumeMounts": [
                    {"name": "claim", "mountPath": "/data/deep", "subPath": "a/b"},
                    {"name": "host", "mountPath": "/host/name", "readOnly": True},
                ]
            },
        )
        pod = await wait_for("claims", ended)
        assert pod["status"]["phase"] == "Succeeded", await logs_of(client, "claims")
        assert (folder / "a/b/file").read_text() == "kept\n"
        assert (folder / "a/b/file").stat().st_gid == 300
        assert Path("/etc/hostname").read_text() in await logs_of(client, "claims")
    finally:
        await client.delete(PERSISTENT_VOLUME_CLAIM, "tested", "default")
        await client.delete(PERSISTENT_VOLUME, "tested")


async def test_a_killed_engine_is_started_again(client: Client, make: Any, wait_for: Any, node: Node) -> None:
    await make("steady")
    before = await wait_for("steady", is_pod_ready)
    pid = int((node.run / node.name / "podman" / "podman.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    await make("later", "true", restartPolicy="Never")
    assert (await wait_for("later", ended))["status"]["phase"] == "Succeeded"
    after = await wait_for("steady", is_pod_ready)
    assert status_of(after)["containerID"] == status_of(before)["containerID"]
