"""Which host ids own a pod's files."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from binderops.kube.kinds import Object
from binderops.kube.objects import spec_of, uid_of

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


def range_of(pod: Object, shared: Range) -> Range | None:
    """The host ids of a pod with `hostUsers: false`; None for others.

    A range of its own, found again by the pod's uid, so that limits which the kernel keeps by user (keys, pending
    signals, message queues) are the pod's alone: of 100 pods two share one with a chance of a sixth, and no more than
    that. Pods with volumes that outlive them have the node's range, `shared`.
    """
    spec = spec_of(pod)
    if spec.get("hostUsers") is not False:
        return None
    if any(_LASTING & volume.keys() for volume in spec.get("volumes") or []):
        return shared
    slot = int.from_bytes(hashlib.sha256(uid_of(pod).encode()).digest()[:8]) % _RANGES
    return (_FIRST + slot) * _SIZE, _SIZE


def owner_of(pod: Object, shared: Range) -> Owner:
    """The owner of a pod's volumes: `hostUsers: false` shifts by the range of its user namespace."""
    group = (spec_of(pod).get("securityContext") or {}).get("fsGroup")
    users = range_of(pod, shared)
    return Owner(users[0] if users else 0, None if group is None else int(group))
