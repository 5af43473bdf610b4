"""What this machine allows a container engine: its control groups, its runtimes, its limits, its name resolution."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from enum import StrEnum
from pathlib import Path

from binderops.errors import MachineError

CGROUP_ROOT = Path("/sys/fs/cgroup")
PID_MAX = Path("/proc/sys/kernel/pid_max")


class CgroupMode(StrEnum):
    """How the kernel's control groups are mounted (systemd's terms)."""

    LEGACY = "v1"
    HYBRID = "hybrid"
    UNIFIED = "v2"


def cgroup_mode(root: Path = CGROUP_ROOT) -> CgroupMode:
    """The mode of the control groups mounted at `root`.

    Unified has `cgroup.controllers` at its top; hybrid keeps v1 controllers and mounts an empty v2 tree as `unified`.
    """
    if (root / "cgroup.controllers").exists():
        return CgroupMode.UNIFIED
    if (root / "unified" / "cgroup.controllers").exists():
        return CgroupMode.HYBRID
    return CgroupMode.LEGACY


def remove_cgroup(folder: Path, top: Path) -> None:
    """Remove a control group of the hierarchy at `top`, and those below it."""
    try:
        entries = [entry for entry in folder.iterdir() if entry.is_dir()]
    except FileNotFoundError:  # the engine removes them as well, and may be first
        return
    for entry in entries:
        remove_cgroup(entry, top)
    with contextlib.suppress(OSError):
        # Only conmon is left, which ends some seconds after the last exec; a group with a process cannot be removed.
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (top / "cgroup.procs").write_text(pid)
        folder.rmdir()


def oci_runtime(mode: CgroupMode) -> str:
    """The name of the OCI runtime to use under `mode`.

    crun refuses hybrid control groups ("cgroups in hybrid mode not supported"), runc takes all three; under v2 crun is
    the faster one. Raises MachineError where neither is installed.
    """
    preferred = ("crun", "runc") if mode is CgroupMode.UNIFIED else ("runc",)
    for name in preferred:
        if shutil.which(name):
            return name
    raise MachineError(
        f"no OCI runtime for cgroups {mode}",
        why=f"none of {', '.join(preferred)} is installed",
        hint=f"apt-get install {preferred[-1]}",
    )


def default_ulimits(*, files: int = 1048576, processes: int = 1048576) -> list[str]:
    """Limits for containers, `name=soft:hard`, none above the caller's own.

    Podman's own defaults ask for more than a process without CAP_SYS_RESOURCE may set, and every container then fails
    with "error setting rlimits: operation not permitted". It also lowers its own limit of processes to the kernel's
    pid_max when it starts (containers/common, getDefaultProcessLimits), so more than that cannot be had either.
    """
    processes = min(processes, int(PID_MAX.read_text()))
    wanted = {"nofile": (resource.RLIMIT_NOFILE, files), "nproc": (resource.RLIMIT_NPROC, processes)}
    limits = []
    for name, (kind, most) in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        limits.append(f"{name}={value}:{value}")
    return limits


def proxy_environment(*, without: tuple[str, ...] = (".svc", ".svc.cluster.local")) -> dict[str, str]:
    """The caller's proxy settings for pulls, with the names of Services (`without`) exempted."""
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    found = {name: os.environ[name] for name in names if os.environ.get(name)}
    if found:
        exempt = [part for part in os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")).split(",") if part]
        found["NO_PROXY"] = found["no_proxy"] = ",".join([*exempt, *without])
    return found
