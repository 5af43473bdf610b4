"""The control group of a pod, parent of its containers'. The engine makes it, and leaves it behind."""

from __future__ import annotations

import contextlib
from pathlib import Path

from binderops.podman.machine import CGROUP_ROOT, CgroupMode, cgroup_mode


def remove(node: str, uid: str, *, root: Path = CGROUP_ROOT) -> None:
    """Remove a pod's control groups in every hierarchy; those that still hold a process stay."""
    tops = [root] if cgroup_mode(root) is CgroupMode.UNIFIED else [path for path in root.iterdir() if path.is_dir()]
    for top in tops:
        pod = top / "binderops" / node / uid
        if not pod.is_dir():
            continue
        for folder in [*sorted(pod.rglob("*/"), key=lambda path: -len(path.parts)), pod]:
            with contextlib.suppress(OSError):
                folder.rmdir()
