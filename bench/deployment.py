"""`up` with images present, and the idle memory of every process of the deployment."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from bench.place import ENVIRONMENT, RUN, STATE, binderops
from bench.report import Report, Series

# What a process's command holds, the first that fits; the rest of a pod's processes are counted as "other".
_MARKS = {
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
_BARS = {"node": 110.0, "all of it": 700.0}


def up_with_images(n: int) -> Report:
    """down, then up, n times: from nothing running to the proof."""
    report = Report("up-again", "down and up in turn")
    samples = []
    for _ in range(n):
        binderops("down", seconds=300)
        started = time.monotonic()
        binderops("up", seconds=600)
        samples.append(time.monotonic() - started)
    recipe = "binderops down; then binderops up to its proof"
    report.series = [Series("up, images present", recipe, "s", samples, bar=25)]
    return report


def idle_memory(seconds: float) -> Report:
    """PSS of each process of the deployment after so many seconds left alone; other nodes' are not counted."""
    report = Report("memory-idle", f"after {seconds:.0f} s without a request")
    time.sleep(seconds)
    found = dict.fromkeys([*_MARKS, "other"], 0.0)
    for process in _processes(STATE / "nodes" / ENVIRONMENT):
        found[_name_of(process)] += _pss(process) / 1024**2
    for name, mebibytes in found.items():
        if mebibytes:
            recipe = f"PSS of processes whose command holds {_MARKS.get(name, 'nothing of the above')!r}"
            report.series.append(Series(name, recipe, "MiB", [mebibytes], bar=_BARS.get(name)))
    everything = sum(found.values())
    report.series.append(Series("all of it", "the sum", "MiB", [everything], bar=_BARS["all of it"]))
    return report


def memory_of(name: str) -> float:
    """PSS in KiB of the deployment's processes of that name, as `idle_memory` names them."""
    found = [each for each in _processes(STATE / "nodes" / ENVIRONMENT) if _name_of(each) == name]
    if not found:
        raise RuntimeError(f"no process of {ENVIRONMENT} is its {name}")
    return sum(map(_pss, found)) / 1024


def _processes(state: Path) -> list[psutil.Process]:
    """The node's process, each pod's monitor (their commands name the node's folder), and all that these started."""
    tops = [each for each in psutil.process_iter(["cmdline"]) if _is_top(each.info["cmdline"] or [], state)]
    found = {process.pid: process for top in tops for process in (top, *_children(top))}
    return list(found.values())


def _is_top(command: list[str], state: Path) -> bool:
    if command and command[0].endswith("/conmon"):
        return any(word.startswith(f"{state}/") for word in command)
    # The forwarder outlives the node that started it.
    run = f"{RUN}/{state.name}/"
    is_ours = str(state.parents[1]) in command and state.name in command
    return ("binderops.node" in command and is_ours) or any(run in word for word in command)


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
        return "other"
    # An init carries the command of what it starts.
    if command.startswith("/usr/bin/tini"):
        return "tini (all)"
    return next((name for name, mark in _MARKS.items() if mark in command), "other")


def _pss(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss)
    except psutil.Error:
        return 0.0
