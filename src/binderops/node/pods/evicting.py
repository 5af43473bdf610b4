"""Looking after the disk: what pods keep there is measured; one that keeps too much is evicted, as by a kubelet.

Looking at the file system costs nothing and is done every second. What each pod keeps is measured when the file
system's use has changed by more than a pod could be forgiven, when it is low, and every ten seconds, as a kubelet
does: what one pod writes while another's files go is no change of the whole. Where all together take longer than a
moment each pod is measured for itself, so that none hides another; one that takes too long to measure twice in a row is
taken to keep too much.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from binderops.errors import BinderOpsError
from binderops.kube.objects import uid_of
from binderops.node.pods import cgroups, ephemeral, usage
from binderops.node.pods.ephemeral import Room, Usage
from binderops.node.pods.kit import Kit
from binderops.node.pods.pressure import Pressure
from binderops.node.pods.worker import PodWorker

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
MEASURE_SECONDS = 10.0
GROWTH_BYTES, GROWTH_INODES = 32 << 20, 20_000
QUICK_SECONDS = 1.0
"""So long all pods are measured by one program, which is nearly always enough; then the others, each by its own."""
AT_ONCE = 4
"""Those are measured beside one another: one that takes long keeps few others waiting."""
STRIKES = 2
"""Measures in a row that took too long; once may be the machine's fault."""
SHARE = 4
"""Unless the disk is low, measuring rests this many times as long as it took."""


class _Places(NamedTuple):
    containers: dict[str, list[Path]]
    volumes: dict[str, Path]
    engine_ids: dict[str, str]

    def folders(self) -> list[Path]:
        """All of the pod's."""
        return [*self.volumes.values(), *(path for paths in self.containers.values() for path in paths)]


class Evictor:
    """Watches the file system that holds `kit.config.state`; `workers` are the node's pods now."""

    def __init__(self, kit: Kit, workers: Callable[[], Sequence[PodWorker]]) -> None:
        self._kit = kit
        self._workers = workers
        self._last: Room | None = None
        self._not_before = 0.0
        self._not_after = 0.0
        self._strikes: Counter[str] = Counter()

    async def run(self) -> None:
        """Until cancelled."""
        pressure = Pressure(self._kit.client, self._kit.recorder, self._kit.config.name)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await pressure.tell(usage.room_of(self._kit.config.state).shortage)
                await self.look()
            except (BinderOpsError, OSError) as error:
                log.warning("what pods keep on disk cannot be measured", error=str(error))

    async def look(self) -> None:
        """Once: measure where that is due, and evict who keeps too much."""
        room = usage.room_of(self._kit.config.state)
        shortage = room.shortage
        now = time.monotonic()
        due = now >= self._not_after or (now >= self._not_before and _changed(self._last, room))
        if not (shortage or due):
            return
        self._last = room
        workers = [each for each in self._workers() if each.runs and (shortage or ephemeral.is_limited(each.pod))]
        measured = await self._measure(workers)
        took = time.monotonic() - now
        self._not_before, self._not_after = now + took * (1 + SHARE), now + took + MEASURE_SECONDS
        over = [(worker, why) for worker, found in measured if (why := self._why(worker, found))]
        for worker, why in over:
            worker.evict(why)
        if shortage and not over:
            self._relieve(measured, shortage)

    def _why(self, worker: PodWorker, found: Usage) -> str:
        """Which limit is passed; empty if none is, or nobody knows yet."""
        uid = uid_of(worker.pod)
        if found.whole:
            self._strikes.pop(uid, None)
        else:
            self._strikes[uid] += 1
        if why := ephemeral.exceeded(worker.pod, found):
            return why
        if self._strikes[uid] < STRIKES or not ephemeral.is_limited(worker.pod):
            return ""
        return (
            "What the pod keeps on disk took too long to measure, twice: it has too many files, or open files "
            f"({usage.DU_SECONDS:.0f} s for its folders, {usage.OPEN_FILES_SECONDS:.0f} s for open files). "
        )

    def _relieve(self, measured: list[tuple[PodWorker, Usage]], shortage: str) -> None:
        """One pod goes at a time: what it kept is free before the next look."""
        chosen = ephemeral.victim((worker.pod, found) for worker, found in measured)
        for worker, found in measured:
            if worker.pod is chosen:
                worker.evict(f"{shortage}The pod was using {found.total} bytes of it. ")

    async def _measure(self, workers: list[PodWorker]) -> list[tuple[PodWorker, Usage]]:
        places = [(worker, self._places(worker)) for worker in workers]
        known = {uid_of(worker.pod) for worker in workers}
        self._strikes = Counter({uid: count for uid, count in self._strikes.items() if uid in known})
        turns = asyncio.Semaphore(AT_ONCE)
        quick = await usage.sizes([path for _, place in places for path in place.folders()], seconds=QUICK_SECONDS)

        async def measure(worker: PodWorker, place: _Places) -> tuple[PodWorker, Usage]:
            async with turns:
                return worker, await self._usage(uid_of(worker.pod), place, quick)

        return list(await asyncio.gather(*(measure(*each) for each in places)))

    async def _usage(self, uid: str, place: _Places, quick: Mapping[Path, int]) -> Usage:
        folders = place.folders()
        found = {path: quick[path] for path in folders if path in quick}
        if any(path.exists() for path in folders if path not in found):
            found = await usage.sizes(folders)
        whole = not any(path.exists() for path in folders if path not in found)
        containers = {name: sum(found.get(path, 0) for path in paths) for name, paths in place.containers.items()}
        for name, identity in place.engine_ids.items():
            pids = cgroups.processes(self._kit.config.name, uid, identity)
            unnamed = await asyncio.to_thread(usage.unlinked, pids)
            containers[name] += unnamed or 0
            whole = whole and unnamed is not None
        return Usage(containers, {name: found.get(path, 0) for name, path in place.volumes.items()}, whole)

    def _places(self, worker: PodWorker) -> _Places:
        pod = worker.pod
        folder = self._kit.volumes.folder(uid_of(pod))
        containers: dict[str, list[Path]] = {}
        identities: dict[str, str] = {}
        for name, unit in worker.units.items():
            containers[name] = [self._kit.log_folder(pod) / name, folder / "containers" / name]
            if unit.view.record is not None:
                identities[name] = unit.view.record.id
                containers[name] += map(Path, unit.view.record.written)
        volumes = folder / "volumes"
        return _Places(
            containers, {path.name: path for path in volumes.iterdir()} if volumes.is_dir() else {}, identities
        )


def _changed(last: Room | None, now: Room) -> bool:
    if last is None:
        return True
    inodes = abs(now.free_inodes - last.free_inodes)
    return abs(now.free - last.free) >= GROWTH_BYTES or inodes >= GROWTH_INODES
