"""Which host ids own a pod's files."""

from __future__ import annotations

from typing import NamedTuple

from binderops.kube.kinds import Object
from binderops.kube.objects import spec_of


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


def owner_of(pod: Object, user_namespace: tuple[int, int]) -> Owner:
    """The owner of a pod's volumes: `hostUsers: false` shifts by the node's range."""
    spec = spec_of(pod)
    group = (spec.get("securityContext") or {}).get("fsGroup")
    return Owner(user_namespace[0] if spec.get("hostUsers") is False else 0, None if group is None else int(group))
