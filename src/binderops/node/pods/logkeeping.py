"""Logs stay within bytes: those of the node's own programs each, those of all pods' containers together."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from binderops.node.pods.kit import Kit
from binderops.node.pods.worker import PodWorker

log = structlog.get_logger(__name__)

LOOK_SECONDS = 60.0
PROGRAM_BYTES = 16 << 20
"""A program's log begins anew at this size; the one before stays beside it as NAME.1."""
PODS_BYTES = 4 << 30
"""What the logs of all containers may hold together; above it logs go until nine tenths of it."""


class Found(NamedTuple):
    """One attempt's log: its bytes on disk, and when it was written last (seconds since 1970)."""

    path: Path
    size: int
    written: float


class LogKeeper:
    """Looks at a node's logs. `workers` are its pods now, `known` the uids of all pods that the API knows.

    Until they are `adopted` it is not known what containers write: logs of pods that the API knows stay.
    """

    def __init__(
        self,
        kit: Kit,
        workers: Callable[[], Sequence[PodWorker]],
        known: Callable[[], set[str]],
        *,
        adopted: Callable[[], bool] = lambda: True,
        program_bytes: int = PROGRAM_BYTES,
        pods_bytes: int = PODS_BYTES,
    ) -> None:
        self._kit = kit
        self._workers = workers
        self._known = known
        self._adopted = adopted
        self._program_bytes = program_bytes
        self._pods_bytes = pods_bytes

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except OSError as error:
                log.warning("logs cannot be kept small", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Remove logs of pods that are gone, then what all others have too much; begin programs' logs anew."""
        folders = await asyncio.to_thread(self._folders)
        # The API's view after the folders: a pod that begins meanwhile is known.
        known, written = self._known(), set(self._written()) if self._adopted() else None
        await asyncio.to_thread(self._pods, folders, known, written)
        # Last: on a full disk it needs the room that the others make.
        await asyncio.to_thread(self._programs)

    @property
    def _folder(self) -> Path:
        return self._kit.config.state / "logs"

    def _programs(self) -> None:
        for path in (*self._folder.glob("*.log"), self._kit.config.state / "podman" / "podman.log"):
            if path.is_file() and path.stat().st_size > self._program_bytes:
                kept = begin_anew(path)
                why = f"in {path.name}.1" if kept else "lost: the disk has no room for it"
                log.info("a program's log begins anew", path=str(path), before=why)

    def _written(self) -> Iterator[Path]:
        """Logs that containers write now."""
        for worker in self._workers():
            for name, unit in worker.units.items():
                record = unit.view.record
                if record is not None and record.state == "running":
                    yield self._kit.log_folder(worker.pod) / name / f"{record.attempt}.log"

    def _folders(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if path.is_dir()] if self._folder.is_dir() else []

    def _pods(self, folders: list[Path], known: set[str], written: set[Path] | None) -> None:
        for folder in folders:
            if folder.name.rpartition("_")[2] not in known:
                shutil.rmtree(folder, ignore_errors=True)
                log.info("removed the logs of a pod that is gone", pod=folder.name)
        if written is None:
            return
        found = list(_logs_in(folders))
        held = sum(each.size for each in found)
        if held > self._pods_bytes:
            self._relieve([each for each in found if each.path not in written], held - self._pods_bytes * 9 // 10)

    def _relieve(self, ended: list[Found], excess: int) -> None:
        """What no container writes goes, the oldest first. What one writes has a limit of its own (LOG_BYTES)."""
        for each in sorted(ended, key=lambda each: each.written):
            if excess <= 0:
                return
            each.path.unlink(missing_ok=True)
            excess -= each.size
            log.info(
                "removed a log",
                path=str(each.path.relative_to(self._folder)),
                bytes=each.size,
                why=f"the logs of all containers held more than {self._pods_bytes} bytes",
            )


def begin_anew(path: Path) -> bool:
    """Move what a log holds to NAME.1 and go on with an empty one: whoever writes has it open for appending.

    What is written between the copy and the cut is lost, as with logrotate's copytruncate. On a disk that would be full
    then, what was kept goes: what NAME.1 held first, all of it if need be. Returns whether it was kept.
    """
    before, new = path.with_name(f"{path.name}.1"), path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    if not _has_room(path):
        before.unlink(missing_ok=True)
    kept = _has_room(path) and _copy(path, new)
    if kept:
        new.replace(before)
    os.truncate(path, 0)
    return kept


def _has_room(path: Path) -> bool:
    """For a copy, and as much again: others need to write meanwhile."""
    found = os.statvfs(path.parent)
    return found.f_bavail * found.f_frsize >= 2 * path.stat().st_size


def _copy(path: Path, new: Path) -> bool:
    """False where the disk became full meanwhile; nothing is left then."""
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as copy, path.open("rb") as source:
            shutil.copyfileobj(source, copy)
    except OSError as error:
        new.unlink(missing_ok=True)
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        return False
    return True


def _logs_in(folders: Iterable[Path]) -> Iterator[Found]:
    for folder in folders:
        for path in folder.glob("*/*.log"):
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                yield Found(path, found.st_blocks * 512, found.st_mtime)
