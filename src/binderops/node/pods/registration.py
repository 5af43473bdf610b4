"""The Node object: what this machine is and has; and its Lease, the sign of life."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import structlog

from binderops.errors import AlreadyExistsError, KubernetesError, NotFoundError
from binderops.kube.client import Client
from binderops.kube.kinds import LEASE, NODE, Object
from binderops.kube.objects import micro_timestamp, set_condition, status_of, timestamp
from binderops.node.config import NodeConfig
from binderops.node.pods import pressure, usage

log = structlog.get_logger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 60
RENEW_SECONDS = 20.0
RESERVED_BYTES = 256 * 1024 * 1024
"""Memory that pods cannot request: the node's own processes use about as much."""
PODS = 250
RELEASE_FILE = Path("/etc/os-release")


def memory_bytes(text: str | None = None) -> int:
    """The machine's memory."""
    for line in (text if text is not None else Path("/proc/meminfo").read_text()).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def capacity(folder: Path) -> dict[str, str]:
    """What the machine has; storage is that of `folder`'s file system."""
    return {
        "cpu": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory_bytes() // 1024}Ki",
        "ephemeral-storage": f"{shutil.disk_usage(folder).total // 1024}Ki",
        "pods": str(PODS),
    }


def allocatable(whole: dict[str, str]) -> dict[str, str]:
    """What pods may request of it."""
    memory = max(int(whole["memory"].removesuffix("Ki")) * 1024 - RESERVED_BYTES, 0)
    return {**whole, "memory": f"{memory // 1024}Ki"}


def node_object(config: NodeConfig) -> Object:
    """The Node's metadata and spec."""
    labels = {
        "kubernetes.io/hostname": config.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": _architecture(),
        "node.kubernetes.io/instance-type": "binderops",
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": config.name, "labels": labels}, "spec": {}}


def node_status(config: NodeConfig, engine: dict[str, Any], before: Object, *, version: str) -> Object:
    """The Node's status; `engine` is Podman's description of itself, `before` the Node, `version` the API's."""
    whole = capacity(config.state)
    conditions = status_of(before).get("conditions") or []
    now = timestamp()
    for kind, status, reason, message in (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ):
        entry = {"type": kind, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now}
        conditions = set_condition(conditions, entry)
    conditions = set_condition(conditions, pressure.condition(usage.room_of(config.state).shortage))
    return {
        "capacity": whole,
        "allocatable": allocatable(whole),
        "conditions": conditions,
        "addresses": [
            {"type": "InternalIP", "address": config.bridge_address},
            {"type": "Hostname", "address": config.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.kubelet_port}},
        "nodeInfo": _node_info(engine, version),
    }


async def register(client: Client, config: NodeConfig, engine: dict[str, Any]) -> Object:
    """Make or bring up to date the Node object; KubernetesError if the API refuses."""
    # A kubelet is as old as its API server or older; what this one does was measured against the server's version.
    version = str((await client.request("GET", "/version")).get("gitVersion") or "")
    wanted = node_object(config)
    try:
        node = await client.create(wanted)
    except AlreadyExistsError:
        node = await client.patch(NODE, config.name, None, {"metadata": {"labels": wanted["metadata"]["labels"]}})
    status = node_status(config, engine, node, version=version)
    return await client.patch(NODE, config.name, None, {"status": status}, subresource="status")


async def keep_lease(client: Client, config: NodeConfig) -> None:
    """Renew the Lease until cancelled: one small write each time, the Node object itself stays as it is."""
    while True:
        try:
            await _renew(client, config)
        except KubernetesError as error:
            log.warning("the node's lease could not be renewed", error=str(error))
        await asyncio.sleep(RENEW_SECONDS)


async def _renew(client: Client, config: NodeConfig) -> None:
    spec = {"holderIdentity": config.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": micro_timestamp()}
    try:
        await client.patch(LEASE, config.name, LEASE_NAMESPACE, {"spec": spec})
    except NotFoundError:
        metadata = {"name": config.name, "namespace": LEASE_NAMESPACE}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        await client.create(lease)


def _node_info(engine: dict[str, Any], version: str) -> dict[str, str]:
    engine_version = str((engine.get("version") or {}).get("Version") or "")
    return {
        "machineID": _first_line(Path("/etc/machine-id")),
        "systemUUID": _first_line(Path("/etc/machine-id")),
        "bootID": _first_line(Path("/proc/sys/kernel/random/boot_id")),
        "kernelVersion": platform.release(),
        "osImage": _distribution(),
        "containerRuntimeVersion": f"podman://{engine_version}",
        "kubeletVersion": version,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": _architecture(),
    }


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _distribution() -> str:
    try:
        for line in RELEASE_FILE.read_text().splitlines():
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip('"')
    except OSError:
        pass
    return "Linux"


def _first_line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
