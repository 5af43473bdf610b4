"""What a pod may keep on the machine's disk, what it keeps there, and who must go: limits of ephemeral storage.

Names, messages and the order of victims are the kubelet's (kubernetes/pkg/kubelet/eviction). Pure: what is measured
comes in as values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from binderops.kube.kinds import Object
from binderops.kube.objects import spec_of
from binderops.kube.quantity import to_bytes

RESOURCE = "ephemeral-storage"
REASON = "Evicted"
CRITICAL = 2_000_000_000
"""Pods of this priority (system-cluster-critical) and above are never evicted."""
LOW_PART, LOW_BYTES = 0.10, 4 << 30
"""The disk is low below a tenth, as for a kubelet, but never while this much is free: laptops have large full disks."""
LOW_INODES_PART = 0.05
WORTHWHILE = 32 << 20
"""Under pressure a pod that keeps less than this stays: what fills the disk is somebody else's."""


@dataclass(frozen=True)
class Usage:
    """Bytes on disk: of each container (its layer, its image's volumes, its log), and of each emptyDir.

    Not `whole` where looking at all of it took too long: it keeps more than that, nobody knows how much.
    """

    containers: Mapping[str, int] = field(default_factory=dict)
    volumes: Mapping[str, int] = field(default_factory=dict)
    whole: bool = True

    @property
    def total(self) -> int:
        """All of the pod's."""
        return sum(self.containers.values()) + sum(self.volumes.values())


class Room(NamedTuple):
    """A file system's size and what is free of it, in bytes and inodes."""

    size: int
    free: int
    inodes: int
    free_inodes: int

    @property
    def least(self) -> int:
        """Below this many free bytes the disk is low."""
        return int(min(self.size * LOW_PART, LOW_BYTES))

    @property
    def least_for_pulls(self) -> int:
        """So many free bytes a pull leaves: it ends before anybody is evicted for it, and images go before that."""
        return self.least * 5 // 4

    @property
    def least_inodes_for_pulls(self) -> int:
        """The same of inodes; 0 where the file system has no fixed number of them."""
        return int(self.inodes * LOW_INODES_PART * 5 / 4)

    @property
    def shortage(self) -> str:
        """What is low, in the kubelet's words; empty if nothing is."""
        if self.free < self.least:
            return (
                f"The node was low on resource: {RESOURCE}. Threshold quantity: {self.least}, available: {self.free}. "
            )
        if self.inodes and self.free_inodes < self.inodes * LOW_INODES_PART:
            least = int(self.inodes * LOW_INODES_PART)
            return f"The node was low on resource: inodes. Threshold quantity: {least}, available: {self.free_inodes}. "
        return ""


def is_limited(pod: Object) -> bool:
    """Whether anything limits what the pod keeps on disk."""
    limited = any(_limit(container) is not None for container in _containers(pod))
    return limited or any(_size_limit(volume) is not None for volume in _empty_directories(pod))


def exceeded(pod: Object, usage: Usage) -> str:
    """Which limit the pod has passed, in the kubelet's words; empty if none."""
    for volume in _empty_directories(pod):
        limit = _size_limit(volume)
        if limit is not None and usage.volumes.get(str(volume["name"]), 0) > to_bytes(limit):
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
    containers = _containers(pod)
    limits = {str(container["name"]): _limit(container) for container in containers}
    if limits and None not in limits.values():
        whole = sum(to_bytes(str(limit)) for limit in limits.values())
        if usage.total > whole:
            shown = next(iter(limits.values())) if len(limits) == 1 else str(whole)
            return f"Pod ephemeral local storage usage exceeds the total limit of containers {shown}. "
    for name, limit in limits.items():
        if limit is not None and usage.containers.get(name, 0) > to_bytes(limit):
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    return ""


def victim(used: Iterable[tuple[Object, Usage]]) -> Object | None:
    """The pod that goes first when the disk is low; None where no pod keeps enough to matter.

    First those whose use took too long to measure, then those that keep more than they requested, then the least
    important, then those furthest above their request.
    """
    candidates = [
        (not usage.whole, usage.total - _requested(pod), _priority(pod), pod)
        for pod, usage in used
        if (usage.total >= WORTHWHILE or not usage.whole) and _priority(pod) < CRITICAL
    ]
    if not candidates:
        return None
    return max(candidates, key=lambda each: (each[0], each[1] > 0, -each[2], each[1]))[3]


def _containers(pod: Object) -> list[Mapping[str, Any]]:
    return list(spec_of(pod).get("containers") or [])


def _limit(container: Mapping[str, Any]) -> str | None:
    limit = ((container.get("resources") or {}).get("limits") or {}).get(RESOURCE)
    return None if limit is None else str(limit)


def _requested(pod: Object) -> int:
    return sum(
        to_bytes(str(((container.get("resources") or {}).get("requests") or {}).get(RESOURCE, "0")))
        for container in _containers(pod)
    )


def _empty_directories(pod: Object) -> list[Mapping[str, Any]]:
    """Volumes of kind emptyDir on disk: those in memory have their limit from the kernel."""
    volumes = spec_of(pod).get("volumes") or []
    return [v for v in volumes if v.get("emptyDir") is not None and v["emptyDir"].get("medium") != "Memory"]


def _size_limit(volume: Mapping[str, Any]) -> str | None:
    limit = volume["emptyDir"].get("sizeLimit")
    return None if limit is None else str(limit)


def _priority(pod: Object) -> int:
    return int(spec_of(pod).get("priority") or 0)
