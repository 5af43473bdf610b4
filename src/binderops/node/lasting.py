"""What outlives the node's process: the engine's service with its conmons, the forwarder of public ports.

As children of a unit's process they would be of the unit's control group, and `systemctl kill` ends everything in it:
containers would run on unwatched, public ports would close. They get a group of their own beside that of the node's
pods (not below it: they must be able to fork when the pods have used up every process id that is theirs).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import structlog

from binderops.podman.machine import CGROUP_ROOT, CgroupMode, cgroup_mode, remove_cgroup

_log = structlog.get_logger("node")
_SYSTEMDS = ("systemd", "unified")
"""The hierarchies by which systemd knows a unit's processes where control groups are v1 or hybrid."""


def keep(node: str, pid: int, *, root: Path = CGROUP_ROOT, own: Path = Path("/proc/self/cgroup")) -> None:
    """Take a process out of the unit that this one is of; nothing to do where this one is of none."""
    if not _of_a_unit(own):
        return
    for top in _tops(root):
        group = _group(top, node)
        try:
            group.mkdir(parents=True, exist_ok=True)
            (group / "cgroup.procs").write_text(str(pid))
        except ProcessLookupError:
            return
        except OSError as error:  # it works in the unit's group too, until somebody kills the unit
            _log.warning("a process stays in the unit's control group", pid=pid, error=str(error))


def clear(node: str, *, root: Path = CGROUP_ROOT) -> None:
    """Remove the group of a node that is stopped."""
    for top in _tops(root):
        remove_cgroup(_group(top, node), top)
        with contextlib.suppress(OSError):  # other nodes' are in it
            _group(top, node).parent.rmdir()


def _group(top: Path, node: str) -> Path:
    return top / "binderops" / f"{node}.lasting"  # no node's name has a dot


def _tops(root: Path) -> list[Path]:
    if cgroup_mode(root) is CgroupMode.UNIFIED:
        return [root]
    return [root / name for name in _SYSTEMDS if (root / name / "cgroup.procs").exists()]


def _of_a_unit(own: Path) -> bool:
    """By cgroups(7): `0::PATH` of the unified hierarchy, `N:name=systemd:PATH` of systemd's own."""
    for line in own.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in {"", "name=systemd"} and path.endswith(".service"):
            return True
    return False
