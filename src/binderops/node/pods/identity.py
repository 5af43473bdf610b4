"""Which host ids own a pod's files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from binderops.kube.kinds import Object
from binderops.kube.objects import spec_of, uid_of
from binderops.podman.idmaps import can_map

Range = tuple[int, int]
"""The first host id of a user namespace, and how many it has."""

# The ids that systemd keeps for containers (systemd.io/UIDS-GIDS), in whole ranges of 65536.
_SIZE, _FIRST, _RANGES = 1 << 16, 0x80000 >> 16, (0x70000000 - 0x80000) >> 16
# Files in these outlive the pod, and belong to ids that the next one must have too.
_LASTING = frozenset({"persistentVolumeClaim", "hostPath", "nfs", "csi", "ephemeral", "image"})


class Owner(NamedTuple):
    """How ids inside a pod show on the host: shifted by `base` where the pod has a user namespace of its own."""

    base: int
    fs_group: int | None

    @property
    def uid(self) -> int:
        """The pod's root, as the host sees it."""
        return self.base

    @property
    def gid(self) -> int:
        """The group that the pod's volumes belong to, as the host sees it."""
        return self.base + (self.fs_group or 0)

    @property
    def range(self) -> Range:
        """The ids of its user namespace."""
        return self.base, _SIZE


def range_of(pod: Object, shared: Range) -> Range | None:
    """The host ids of a pod with `hostUsers: false`; None for others.

    A range of its own, found again by the pod's uid, so that limits which the kernel keeps by user (keys, pending
    signals, message queues) are the pod's alone: of 100 pods two share one with a chance of a sixth, and no more than
    that. Pods with volumes that outlive them have the node's range, `shared`, unless those are shown by `is_shown`.
    """
    spec = spec_of(pod)
    if spec.get("hostUsers") is not False:
        return None
    if any(_LASTING & volume.keys() and not is_shown(pod, volume) for volume in spec.get("volumes") or []):
        return shared
    slot = int.from_bytes(hashlib.sha256(uid_of(pod).encode()).digest()[:8]) % _RANGES
    return (_FIRST + slot) * _SIZE, _SIZE


def is_shown(pod: Object, volume: Mapping[str, Any]) -> bool:
    """Whether a volume can be mounted under the ids of any range: a folder of the machine that the pod only reads."""
    source = volume.get("hostPath") or {}
    if source.get("type") != "Directory" or not all(mount.get("readOnly") for mount in _mounts_of(pod, volume)):
        return False
    return can_map(Path(str(source.get("path"))))


def _mounts_of(pod: Object, volume: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    spec = spec_of(pod)
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        for mount in container.get("volumeMounts") or []:
            if mount.get("name") == volume.get("name"):
                yield mount


def owner_of(pod: Object, shared: Range) -> Owner:
    """The owner of a pod's volumes: `hostUsers: false` shifts by the range of its user namespace."""
    group = (spec_of(pod).get("securityContext") or {}).get("fsGroup")
    users = range_of(pod, shared)
    return Owner(users[0] if users else 0, None if group is None else int(group))
