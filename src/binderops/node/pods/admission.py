"""Whether this node can run a pod: what its spec asks for, and what the node has.

What is refused stands in the tables below, and in docs/operate/pods.md. A refused pod stays Pending, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from binderops.kube.kinds import Object
from binderops.kube.objects import key_of, name_of, spec_of
from binderops.kube.placement import labels_told, unmet
from binderops.kube.quantity import to_bytes
from binderops.node.pods.resources import requested

UNSUPPORTED = {
    "hostNetwork": "a pod's network is its own",
    "hostPID": "a pod's processes are its own",
    "hostIPC": "a pod's memory is its own",
    "shareProcessNamespace": "each container has a process namespace of its own",
    "ephemeralContainers": "debug with exec",
    "resourceClaims": "there are no devices to claim",
}
UNSUPPORTED_CONTAINER = {
    "volumeDevices": "there are no raw block volumes",
    "restartPolicyRules": "restartPolicy decides for all exit codes",
}
UNSUPPORTED_SECURITY = {"seLinuxOptions": "SELinux is not used", "windowsOptions": "this is Linux"}
VOLUME_KINDS = (
    "emptyDir", "configMap", "secret", "projected", "downwardAPI", "hostPath", "persistentVolumeClaim",
)  # fmt: skip
PROJECTIONS = ("configMap", "secret", "downwardAPI", "serviceAccountToken")


class Refusal(NamedTuple):
    """Why a pod is not run: `reason` for the condition PodScheduled and the Event, and a message that names fields."""

    reason: str
    message: str


def unsupported(pod: Object) -> list[str]:
    """Every field of `pod` that this node does not support, with why."""
    spec = spec_of(pod)
    found = [f"spec.{key}: {why}" for key, why in UNSUPPORTED.items() if spec.get(key)]
    found += _unsupported_security("spec.securityContext", spec.get("securityContext") or {})
    if (spec.get("securityContext") or {}).get("sysctls"):
        found.append("spec.securityContext.sysctls: kernel settings are the machine's")
    if spec.get("runtimeClassName"):
        found.append("spec.runtimeClassName: there is one runtime")
    if (spec.get("os") or {}).get("name", "linux") != "linux":
        found.append("spec.os.name: this is Linux")
    for volume in spec.get("volumes") or []:
        found += _unsupported_volume(volume)
    for kind in ("initContainers", "containers"):
        for container in spec.get(kind) or []:
            found += _unsupported_container(f"spec.{kind}[{container.get('name')}]", container)
    return found


def refusal(pod: Object, *, node: Object, others: Iterable[Object]) -> Refusal | None:
    """Why `pod` cannot run on `node` beside `others` (the pods that are there), or None."""
    if names := unsupported(pod):
        return Refusal("Unsupported", "this node does not support " + "; ".join(names))
    spec = spec_of(pod)
    others = list(others)
    if wanted := unmet(spec, node):
        return Refusal("Unschedulable", _nowhere(wanted, node))
    return _insufficient(pod, node, others)


def _nowhere(wanted: str, node: Object) -> str:
    return (
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. "
        f"It wants {wanted}; the only node, {name_of(node)}, has {labels_told(node)}. "
        f"Take the selector away, or label the node: kubectl label node {name_of(node)} KEY=VALUE"
    )


def _insufficient(pod: Object, node: Object, others: list[Object]) -> Refusal | None:
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    pods_allowed = int(allocatable.get("pods", "0"))
    if pods_allowed and len([other for other in others if key_of(other) != key_of(pod)]) >= pods_allowed:
        return Refusal("Unschedulable", "0/1 nodes are available: 1 Too many pods.")
    # CPU requests are shares (resources.py), not reservations: one machine that is busy is slow, it has no other to
    # send a pod to. Memory cannot be shared so.
    asked, used = requested([pod])["memory"], requested(others)["memory"]
    if asked and "memory" in allocatable and asked + used > to_bytes(str(allocatable["memory"])):
        return Refusal("Unschedulable", "0/1 nodes are available: 1 Insufficient memory.")
    return None


def _unsupported_security(where: str, context: Mapping[str, Any]) -> list[str]:
    found = [f"{where}.{key}: {why}" for key, why in UNSUPPORTED_SECURITY.items() if context.get(key)]
    for key in ("seccompProfile", "appArmorProfile"):
        if (context.get(key) or {}).get("type") == "Localhost":
            found.append(f"{where}.{key}.type: profiles of the machine are not offered")
    return found


def _unsupported_container(where: str, container: Mapping[str, Any]) -> list[str]:
    found = [f"{where}.{key}: {why}" for key, why in UNSUPPORTED_CONTAINER.items() if container.get(key)]
    found += _unsupported_security(f"{where}.securityContext", container.get("securityContext") or {})
    if any(port.get("hostPort") for port in container.get("ports") or []):
        found.append(f"{where}.ports.hostPort: publish by a Service of type LoadBalancer")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if (container.get(probe) or {}).get("grpc"):
            found.append(f"{where}.{probe}.grpc: probe by httpGet, tcpSocket or exec")
    for mount in container.get("volumeMounts") or []:
        if mount.get("mountPropagation") == "Bidirectional":
            found.append(f"{where}.volumeMounts[{mount.get('name')}].mountPropagation: mounts stay inside a container")
    extended = [
        name
        for name in ((container.get("resources") or {}).get("limits") or {})
        if name not in ("cpu", "memory", "ephemeral-storage")
    ]
    found += [f"{where}.resources.limits.{name}: this node has none" for name in extended]
    return found


def _unsupported_volume(volume: Mapping[str, Any]) -> list[str]:
    kinds = [key for key in volume if key != "name"]
    found = [
        f"spec.volumes[{volume.get('name')}].{kind}: no such volumes" for kind in kinds if kind not in VOLUME_KINDS
    ]
    for source in (volume.get("projected") or {}).get("sources") or []:
        found += [
            f"spec.volumes[{volume.get('name')}].projected.{key}: no such source"
            for key in source
            if key not in PROJECTIONS
        ]
    return found
