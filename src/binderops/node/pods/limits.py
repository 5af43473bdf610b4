"""Pods that reach a limit and go on are named, by an Event each: of memory (the kernel ends a process), of processes.

A container that ends of it says so by its status. In a user's server it is a notebook's kernel that ends, or a fork
that fails: what the server itself says of that, its user reads, and nobody who looks after the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from binderops.kube.objects import uid_of
from binderops.node.pods import cgroups
from binderops.node.pods.kit import Kit
from binderops.node.pods.resources import PIDS
from binderops.node.pods.units import Unit
from binderops.node.pods.worker import PodWorker

LOOK_SECONDS = 5.0


class _Count(NamedTuple):
    """How often a pod has met one of its limits; the message is the same each time, so that its Event counts on."""

    key: tuple[str, str]
    times: int
    reason: str
    message: str


class LimitWatch:
    """Reads the kernel's counters of `workers`, the node's pods now."""

    def __init__(self, kit: Kit, workers: Callable[[], Sequence[PodWorker]]) -> None:
        self._kit = kit
        self._workers = workers
        self._seen: dict[tuple[str, str], int] | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Once. What the first look finds was told by the process before this one."""
        before, self._seen = self._seen, {}
        for worker in self._workers():
            for count in self._counts(worker) if worker.runs else ():
                self._seen[count.key] = count.times
                if before is not None and count.times > before.get(count.key, 0):
                    await self._kit.recorder.event(worker.pod, count.reason, count.message, "Warning")

    def _counts(self, worker: PodWorker) -> Iterator[_Count]:
        node, uid = self._kit.config.name, uid_of(worker.pod)
        for name, unit in worker.units.items():
            if unit.view.record is not None:
                kills = cgroups.oom_kills(node, uid, unit.view.record.id)
                yield _Count((uid, unit.view.record.id), kills, "OOMKilling", _of_memory(name, unit))
        message = f"The pod has as many processes as it may have ({PIDS}): it cannot start another"
        yield _Count((uid, ""), cgroups.refused_forks(node, uid), "TooManyProcesses", message)


def _of_memory(name: str, unit: Unit) -> str:
    limit = ((unit.view.spec.get("resources") or {}).get("limits") or {}).get("memory")
    whose = f"its limit is {limit}" if limit else "the machine's is short"
    return f"The kernel ended a process of container {name} for want of memory: {whose}"
