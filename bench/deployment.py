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


def fresh_memory(seconds: float) -> Report:
    """That of a deployment that was just started."""
    binderops("down", seconds=300)
    binderops("up", seconds=600)
    return idle_memory(seconds, title="memory-fresh")


def idle_memory(seconds: float, *, title: str = "memory-used") -> Report:
    """PSS of each process of the deployment after so many seconds left alone; other nodes' are not counted."""
    report = Report(title, f"after {seconds:.0f} s without a request")
    time.sleep(seconds)
    processes = _programs()
    found = {name: sum(map(pss, processes.get(name, []))) / 1e6 for name in (*MARKS, OTHER)}
    for name, megabytes in found.items():
        if megabytes:
            recipe = f"PSS of processes whose command holds {MARKS.get(name, 'nothing of the above')!r}"
            report.series.append(Series(name, recipe, "MB", [megabytes], bar=_BARS.get(name)))
    everything = sum(found.values())
    report.series.append(Series("all of it", "the sum", "MB", [everything], bar=_BARS["all of it"]))
    alone = sum(process.memory_info().rss for process in processes.get("node", [])) / 1e6
    told = "its resident memory: what its PSS is at most where no other node shares its libraries"
    report.series.append(Series("node, if alone", told, "MB", [alone], bar=_BARS["node"]))
    return report


def memory_of(name: str) -> float:
    """PSS in KB (1,000 bytes) of the deployment's processes of that name, as `idle_memory` names them."""
    found = _programs().get(name)
    if not found:
        raise RuntimeError(f"no process of {ENVIRONMENT} is its {name}")
    return sum(map(pss, found)) / 1000


def _programs() -> dict[str, list[psutil.Process]]:
    return programs(STATE / "nodes" / ENVIRONMENT, RUN / ENVIRONMENT)
