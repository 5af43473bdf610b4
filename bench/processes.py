"""The processes of one deployment, by the program that they are."""

from __future__ import annotations

from pathlib import Path

import psutil

# What a process's command holds, the first that fits; the rest of a pod's processes are counted as OTHER.
MARKS = {
    "node": "binderops.node --state",
    "forwarder": "network/forwarder.py",
    "podman service": "podman system service",
    "conmon (all)": "/usr/bin/conmon",
    "tini (all)": "/usr/bin/tini",
    "culler": "jupyterhub_idle_culler",
    "hub": "jupyterhub --config",
    "proxy": "configurable-http-proxy",
    "binder": "binderops.binder",
    "ingress": "binderops.ingress",
    "nginx (all)": "nginx:",
    "registry": "docker-registry",
    "registry's cleaner": "binderops.registry",
}
OTHER = "other"


def programs(state: Path, run: Path) -> dict[str, list[psutil.Process]]:
    """Name -> the processes of the node whose folders are STATE/nodes/NAME and RUN/NAME, and of all its pods."""
    found: dict[str, list[psutil.Process]] = {}
    for process in _processes(state, run):
        found.setdefault(_name_of(process), []).append(process)
    return found


def pss(process: psutil.Process) -> float:
    """Bytes of memory that are its own, and its share of what it has in common; 0 for one that is gone."""
    try:
        return float(process.memory_full_info().pss)
    except psutil.Error:
        return 0.0


def _processes(state: Path, run: Path) -> list[psutil.Process]:
    """The node's process, each pod's monitor (their commands name the node's folder), and all that these started."""
    tops = [each for each in psutil.process_iter(["cmdline"]) if _is_top(each.info["cmdline"] or [], state, run)]
    found = {process.pid: process for top in tops for process in (top, *_children(top))}
    return list(found.values())


def _is_top(command: list[str], state: Path, run: Path) -> bool:
    if command and command[0].endswith("/conmon"):
        return any(word.startswith(f"{state}/") for word in command)
    # The forwarder outlives the node that started it.
    is_ours = str(state.parents[1]) in command and state.name in command
    return ("binderops.node" in command and is_ours) or any(f"{run}/" in word for word in command)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.Error:
        return []
    return found


def _name_of(process: psutil.Process) -> str:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return OTHER
    # An init carries the command of what it starts.
    if command.startswith("/usr/bin/tini"):
        return "tini (all)"
    return next((name for name, mark in MARKS.items() if mark in command), OTHER)
