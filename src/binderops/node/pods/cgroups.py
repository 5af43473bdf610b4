"""The control groups of a pod, parent of its containers'. The engine makes them, and leaves them behind."""

from __future__ import annotations

import contextlib
from pathlib import Path

from binderops.podman.machine import CGROUP_ROOT, CgroupMode, cgroup_mode


def remove(node: str, uid: str, *, root: Path = CGROUP_ROOT) -> None:
    """Remove the control groups of a pod whose containers are gone, in every hierarchy."""
    for top in _tops(root):
        _remove_tree(top / "binderops" / node / uid, top)


def remove_all(node: str, *, root: Path = CGROUP_ROOT) -> None:
    """Remove the control groups of a node whose pods are gone."""
    for top in _tops(root):
        _remove_tree(top / "binderops" / node, top)
        with contextlib.suppress(OSError):  # other nodes' are in it
            (top / "binderops").rmdir()


def _tops(root: Path) -> list[Path]:
    return [root] if cgroup_mode(root) is CgroupMode.UNIFIED else [path for path in root.iterdir() if path.is_dir()]


def _remove_tree(folder: Path, top: Path) -> None:
    try:
        entries = [entry for entry in folder.iterdir() if entry.is_dir()]
    except FileNotFoundError:  # the engine removes them as well, and may be first
        return
    for entry in entries:
        _remove_tree(entry, top)
    with contextlib.suppress(OSError):
        # Only conmon is left, which ends some seconds after the last exec; a group with a process cannot be removed.
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (top / "cgroup.procs").write_text(pid)
        folder.rmdir()


def oom_kills(node: str, uid: str, engine_id: str, *, root: Path = CGROUP_ROOT) -> int:
    """How many processes of a container the kernel has killed for memory; 0 once its control group is gone.

    Asked at the moment a container ends: conmon 2.1 does not see it under hybrid control groups.
    """
    if cgroup_mode(root) is CgroupMode.UNIFIED:
        file = root / "binderops" / node / uid / f"libpod-{engine_id}" / "memory.events"
    else:
        file = root / "memory" / "binderops" / node / uid / f"libpod-{engine_id}" / "memory.oom_control"
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
