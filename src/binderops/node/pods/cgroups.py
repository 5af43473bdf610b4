"""The control groups of a pod, parent of its containers'.

What holds for a pod as a whole (its weight beside other pods, how many processes it has) and for all of them together
is set here; the engine makes the containers' own below, and leaves all of them behind.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from binderops.podman.machine import CGROUP_ROOT, PID_MAX, CgroupMode, cgroup_mode, remove_cgroup

SHARES_RANGE, WEIGHT_RANGE = (2, 262144), (1, 10000)


REMOVAL_SECONDS = 10.0
"""How long a control group is waited for in which something is still ending."""


def limit_node(node: str, *, root: Path = CGROUP_ROOT, most: int | None = None) -> None:
    """Leave the machine a quarter of its process ids, whatever the node's pods do (`most` processes, if given)."""
    pids = most if most is not None else int(PID_MAX.read_text()) * 3 // 4
    folder, unified = _made("pids", Path("binderops") / node, root)
    if folder is not None:
        _set(folder / "pids.max", pids, unified)


def limit_pod(node: str, uid: str, *, shares: int, pids: int, root: Path = CGROUP_ROOT) -> None:
    """Make a pod's control groups: its weight (cgroup v1's cpu.shares) and how many processes it may have.

    Without this every pod would weigh the same, since the engine sets what its containers weigh beside each other only.
    """
    place = Path("binderops") / node / uid
    folder, unified = _made("pids", place, root)
    if folder is not None:
        _set(folder / "pids.max", pids, unified)
    folder, unified = _made("cpu", place, root)
    if folder is not None:
        _set(folder / ("cpu.weight" if unified else "cpu.shares"), _weight(shares) if unified else shares, unified)


def _made(controller: str, place: Path, root: Path) -> tuple[Path | None, bool]:
    """The group `place` in the controller's hierarchy; None where this machine does not have that."""
    if cgroup_mode(root) is not CgroupMode.UNIFIED:
        top = root / controller
        if not top.is_dir():
            return None, False
        (top / place).mkdir(parents=True, exist_ok=True)
        return top / place, False
    group = root
    for part in place.parts:
        with contextlib.suppress(OSError):  # what a service manager delegated may lack a controller
            (group / "cgroup.subtree_control").write_text(f"+{controller}")
        group /= part
        group.mkdir(exist_ok=True)
    return group, True


def _set(file: Path, value: int, unified: bool) -> None:
    if unified and not file.exists():
        return
    file.write_text(str(value))


def _weight(shares: int) -> int:
    """cpu.weight of cgroup v2 for v1's cpu.shares, as every OCI runtime converts it."""
    (low, high), (least, most) = SHARES_RANGE, WEIGHT_RANGE
    return least + (min(max(shares, low), high) - low) * (most - least) // (high - low)


def remove(node: str, uid: str, *, root: Path = CGROUP_ROOT) -> None:
    """Remove the control groups of a pod whose containers are gone, in every hierarchy."""
    for top in _tops(root):
        remove_cgroup(top / "binderops" / node / uid, top)


def left(node: str, *, root: Path = CGROUP_ROOT) -> set[str]:
    """The uids of all pods that have control groups, in any hierarchy."""
    found: set[str] = set()
    for top in _tops(root):
        with contextlib.suppress(FileNotFoundError):
            found |= {path.name for path in (top / "binderops" / node).iterdir() if path.is_dir()}
    return found


def remove_all(node: str, *, root: Path = CGROUP_ROOT) -> None:
    """Remove the control groups of a node whose pods are gone, and wait for what is still ending in them."""
    deadline = time.monotonic() + REMOVAL_SECONDS
    while True:
        for top in _tops(root):
            remove_cgroup(top / "binderops" / node, top)
            with contextlib.suppress(OSError):  # other nodes' are in it
                (top / "binderops").rmdir()
        if not any((top / "binderops" / node).exists() for top in _tops(root)) or time.monotonic() > deadline:
            return
        time.sleep(0.1)


def _tops(root: Path) -> list[Path]:
    return [root] if cgroup_mode(root) is CgroupMode.UNIFIED else [path for path in root.iterdir() if path.is_dir()]


def processes(node: str, uid: str, engine_id: str, *, root: Path = CGROUP_ROOT) -> list[int]:
    """The processes of a container, in groups of its own making too; none once its control group is gone."""
    top = _top("pids", root)
    found: list[int] = []
    for folder, _, _ in os.walk(top / "binderops" / node / uid / f"libpod-{engine_id}"):
        with contextlib.suppress(OSError):
            found += map(int, Path(folder, "cgroup.procs").read_text().split())
    return found


def oom_kills(node: str, uid: str, engine_id: str, *, root: Path = CGROUP_ROOT) -> int:
    """How many processes of a container the kernel has killed for memory; 0 once its control group is gone.

    Asked at the moment a container ends: conmon 2.1 does not see it under hybrid control groups.
    """
    if cgroup_mode(root) is CgroupMode.UNIFIED:
        file = root / "binderops" / node / uid / f"libpod-{engine_id}" / "memory.events"
    else:
        file = root / "memory" / "binderops" / node / uid / f"libpod-{engine_id}" / "memory.oom_control"
    return _counted(file, "oom_kill")


def refused_forks(node: str, uid: str, *, root: Path = CGROUP_ROOT) -> int:
    """How often a process of a pod could not start another for the limits of processes; 0 once its groups are gone.

    Kernels before 6.10 count where the process is, later ones where the limit is: the pod's groups are summed.
    """
    pod = _top("pids", root) / "binderops" / node / uid
    return sum(_counted(Path(folder, "pids.events"), "max") for folder, _, _ in os.walk(pod))


def _top(controller: str, root: Path) -> Path:
    """Where the controller's hierarchy begins."""
    return root if cgroup_mode(root) is CgroupMode.UNIFIED else root / controller


def _counted(file: Path, what: str) -> int:
    """One of the counters in a file of the kernel's, a name and a number a line; 0 where there is none."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{what} ")), 0)
