"""Requests and limits: the kernel's control groups, the OOM killer's order, the quality-of-service class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from binderops.kube.kinds import Object
from binderops.kube.objects import spec_of
from binderops.kube.quantity import to_bytes, to_millicores

PERIOD_MICROSECONDS = 100000
SMALLEST_QUOTA_MICROSECONDS = 1000
SMALLEST_SHARES = 2
PIDS = 4096
"""Processes of one pod: a fork bomb must end before the machine's own pid_max does (OpenShift's podPidsLimit)."""


def qos_class(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort (kubernetes/pkg/apis/core/v1/helper/qos)."""
    spec = spec_of(pod)
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    guaranteed, any_given = True, False
    for container in containers:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            any_given = any_given or name in limits or name in requests
            if name not in limits or _differs(name, limits[name], requests.get(name, limits[name])):
                guaranteed = False
    if not any_given:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def limits(container: Mapping[str, Any]) -> dict[str, Any]:
    """OCI's LinuxResources: memory limit, CPU quota, and shares by the CPU request (they must mean something)."""
    resources = container.get("resources") or {}
    most, asked = resources.get("limits") or {}, resources.get("requests") or {}
    cpu: dict[str, int] = {}
    request = asked.get("cpu", most.get("cpu"))
    millicores = to_millicores(str(request)) if request is not None else 0
    cpu["shares"] = max(SMALLEST_SHARES, millicores * 1024 // 1000)
    if most.get("cpu") is not None:
        quota = to_millicores(str(most["cpu"])) * PERIOD_MICROSECONDS // 1000
        cpu |= {"quota": max(quota, SMALLEST_QUOTA_MICROSECONDS), "period": PERIOD_MICROSECONDS}
    result: dict[str, Any] = {"cpu": cpu, "pids": {"limit": PIDS}}
    if most.get("memory") is not None:
        result["memory"] = {"limit": to_bytes(str(most["memory"]))}
    return result


def pod_shares(pod: Object) -> int:
    """What the pod weighs beside others: the sum of its containers' CPU requests, or the largest init container's."""
    spec = spec_of(pod)

    def shares(container: Mapping[str, Any]) -> int:
        found: int = limits(container)["cpu"]["shares"]
        return found

    together = sum(shares(container) for container in spec.get("containers") or [])
    alone = max((shares(container) for container in spec.get("initContainers") or []), default=0)
    return max(together, alone, SMALLEST_SHARES)


def oom_score_adjustment(pod: Object, container: Mapping[str, Any], *, capacity: int, own: int) -> int:
    """How early the OOM killer takes the container; `capacity` is the machine's memory in bytes.

    The kubelet's figures (pkg/kubelet/qos/policy.go), but never below `own`: lowering takes CAP_SYS_RESOURCE.
    """
    kind = qos_class(pod)
    if kind == "Guaranteed":
        return max(own, -997)
    if kind == "BestEffort":
        return 1000
    request = ((container.get("resources") or {}).get("requests") or {}).get("memory", "0")
    value = 1000 - 1000 * to_bytes(str(request)) // max(capacity, 1)
    return max(own, min(max(value, 3), 999))


def requested(pods: Iterable[Object]) -> dict[str, int]:
    """The sum of requests: millicores, and bytes of memory."""
    total = {"cpu": 0, "memory": 0}
    for pod in pods:
        for container in spec_of(pod).get("containers") or []:
            asked = (container.get("resources") or {}).get("requests") or {}
            total["cpu"] += to_millicores(str(asked.get("cpu", "0")))
            total["memory"] += to_bytes(str(asked.get("memory", "0")))
    return total


def _differs(name: str, one: object, other: object) -> bool:
    convert = to_millicores if name == "cpu" else to_bytes
    return convert(str(one)) != convert(str(other))
