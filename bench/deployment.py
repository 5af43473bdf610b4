"""`up` with images present, and the idle memory of every process of the deployment."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

from bench.report import Report, Series

ROOT = Path(__file__).parents[1]
BINDEROPS = str(Path(sys.executable).parent / "binderops")
_MARKS = {
    "node": "binderops.node --state",
    "forwarder": "network/forwarder.py",
    "podman service": "podman system service",
    "conmon (all)": "conmon",
    "hub": "jupyterhub --config",
    "culler": "jupyterhub_idle_culler",
    "proxy": "configurable-http-proxy",
    "binder": "binderops.binder",
    "ingress": "binderops.ingress",
    "nginx (all)": "nginx:",
    "registry": "docker-registry",
}


def up_with_images(n: int) -> Report:
    """down, then up, n times: from nothing running to the proof."""
    samples = []
    for _ in range(n):
        subprocess.run([BINDEROPS, "down", "local"], cwd=ROOT, check=True, capture_output=True, timeout=300)
        started = time.monotonic()
        subprocess.run([BINDEROPS, "up", "local"], cwd=ROOT, check=True, capture_output=True, timeout=600)
        samples.append(time.monotonic() - started)
    report = Report("up-again", "down and up in turn")
    report.series = [Series("up, images present", "binderops down; then binderops up to its proof", "s", samples)]
    return report


def idle_memory(seconds: float) -> Report:
    """PSS of each process after the deployment was left alone for so many seconds."""
    time.sleep(seconds)
    report = Report("memory-idle", f"after {seconds:.0f} s without a request")
    total = 0.0
    for name, mark in _MARKS.items():
        mebibytes = sum(_pss(process) for process in psutil.process_iter(["cmdline"]) if _is(process, mark)) / 1024**2
        total += mebibytes
        if mebibytes:
            report.series.append(Series(name, f"PSS of processes whose command holds {mark!r}", "MiB", [mebibytes]))
    report.series.append(Series("all of it", "the sum", "MiB", [total]))
    return report


def _is(process: psutil.Process, mark: str) -> bool:
    command = " ".join(process.info["cmdline"] or [])
    # tini, conmon and shells carry the command of what they start.
    starter = command.startswith(("/usr/bin/tini", "/usr/bin/conmon")) and mark != "conmon"
    return mark in command and not starter


def _pss(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss)
    except psutil.Error:
        return 0.0
