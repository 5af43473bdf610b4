"""`up` with images present, and the idle memory of every process of the deployment."""

from __future__ import annotations

import time

import psutil

from bench.place import ENVIRONMENT, RUN, STATE, binderops
from bench.processes import MARKS, OTHER, programs, pss
from bench.report import Report, Series

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
    processes = _programs()
    found = {name: sum(map(pss, processes.get(name, []))) / 1024**2 for name in (*MARKS, OTHER)}
    for name, mebibytes in found.items():
        if mebibytes:
            recipe = f"PSS of processes whose command holds {MARKS.get(name, 'nothing of the above')!r}"
            report.series.append(Series(name, recipe, "MiB", [mebibytes], bar=_BARS.get(name)))
    everything = sum(found.values())
    report.series.append(Series("all of it", "the sum", "MiB", [everything], bar=_BARS["all of it"]))
    return report


def memory_of(name: str) -> float:
    """PSS in KiB of the deployment's processes of that name, as `idle_memory` names them."""
    found = _programs().get(name)
    if not found:
        raise RuntimeError(f"no process of {ENVIRONMENT} is its {name}")
    return sum(map(pss, found)) / 1024


def _programs() -> dict[str, list[psutil.Process]]:
    return programs(STATE / "nodes" / ENVIRONMENT, RUN / ENVIRONMENT)
