"""Mount points inside volumes whose files come from the API.

No container may write there, so nobody makes the folders that further volumes are mounted at (mybinder.org mounts
templates below the ConfigMap at /etc/jupyter): the node does, as a kubelet.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from binderops.kube.kinds import Object
from binderops.kube.objects import spec_of
from binderops.node.pods.identity import Owner
from binderops.node.pods.paths import make_beneath


def make_mount_points(folder: Path, pod: Object, volume: str, owner: Owner) -> None:
    """Make in `folder`, where `volume` lies, what containers of `pod` mount inside it. VolumeSetupError, OSError."""
    for relative in sorted(set(_inside(pod, volume))):
        make_beneath(folder, relative, uid=owner.uid, gid=owner.gid, mode=0o755)


def _inside(pod: Object, volume: str) -> Iterator[str]:
    spec = spec_of(pod)
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        mounts = container.get("volumeMounts") or []
        points = {PurePosixPath(str(mount["mountPath"])) for mount in mounts}
        for mount in mounts:
            top = PurePosixPath(str(mount["mountPath"]))
            # A part of a volume is mounted in its place; what lies inside is not at the volume's top.
            if mount["name"] != volume or mount.get("subPath") or mount.get("subPathExpr"):
                continue
            below = {point for point in points if point != top and point.is_relative_to(top)}
            # What is mounted inside another of these stands in that one's volume.
            yield from (
                str(point.relative_to(top))
                for point in below
                if ".." not in point.parts
                and not any(point != other and point.is_relative_to(other) for other in below)
            )
