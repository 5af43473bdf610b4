"""Pods that reach a limit and go on are named, by an Event each: of memory (the kernel ends a process), of processes.

A container that ends of it says so by its status. In a user's server it is a notebook's kernel that ends, or a fork
that fails: what the server itself says of that, its user reads, and nobody who looks after the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from binderops.errors import BinderOpsError
from binderops.kube.objects import uid_of
from binderops.node.pods import cgroups
from binderops.node.pods.kit import Kit
from binderops.node.pods.resources import PIDS
from binderops.node.pods.units import Unit
from binderops.node.pods.worker import PodWorker

log = structlog.get_logger(__name__)

LOOK_SECONDS = 5.0


class _Count(NamedTuple):
    """How often a pod has met one of its limits; the message is the same each time, so that its Event counts on."""

    key: tuple[str, str]
    times: int
    is_new: bool
    reason: str
    message: str


class LimitWatch:
    """Reads the kernel's counters of `workers`, the node's pods now."""

    def __init__(self, kit: Kit, workers: Callable[[], Sequence[PodWorker]]) -> None:
        self._kit = kit
        self._workers = workers
        self._since = datetime.now(UTC)
        self._seen: dict[tuple[str, str], int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except (BinderOpsError, OSError) as error:
                log.warning("who meets a limit cannot be told", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Once. What a container met that is older than this process was told by the one before."""
        found = [(worker.pod, count) for worker in self._workers() if worker.runs for count in self._counts(worker)]
        before, self._seen = self._seen, {count.key: count.times for _, count in found}
        for pod, count in found:
            if count.times > before.get(count.key, 0 if count.is_new else count.times):
                await self._kit.recorder.event(pod, count.reason, count.message, "Warning")

    def _counts(self, worker: PodWorker) -> Iterator[_Count]:
        node, uid = self._kit.config.name, uid_of(worker.pod)
        is_new = True
        for name, unit in worker.units.items():
            if (record := unit.view.record) is not None:
                began_here = record.started_at is not None and record.started_at >= self._since
                is_new = is_new and began_here
                kills = cgroups.oom_kills(node, uid, record.id)
                yield _Count((uid, record.id), kills, began_here, "OOMKilling", _of_memory(name, unit))
        message = f"The pod has as many processes as it may have ({PIDS}): it cannot start another"
        yield _Count((uid, ""), cgroups.refused_forks(node, uid), is_new, "TooManyProcesses", message)


def _of_memory(name: str, unit: Unit) -> str:
    limit = ((unit.view.spec.get("resources") or {}).get("limits") or {}).get("memory")
    whose = f"its limit is {limit}" if limit else "the machine's is short"
    return f"The kernel ended a process of container {name} for want of memory: {whose}"
