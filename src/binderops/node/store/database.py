"""The SQLite file, and the one thread that writes it.

Writes that arrive while a transaction is being synced to disk share the next one (group commit). WAL with synchronous
FULL: a transaction that was reported is on the disk.

On a full disk objects can be changed and deleted on: the file keeps free pages, and the log of writes, whose room is
used again, is made long enough once there is nothing else to write.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from binderops.errors import MachineError, StoreFailedError

_SCHEMA_VERSION = 1
_LARGEST_BATCH = 256
RESERVE_BYTES = 512 * 1024
"""Of free pages in the file, and of the log: some hundred objects that grow, until there is room again."""
_ROOM = 8  # times the reserve must be free before it is taken
_IDLE = 1.0  # seconds without a write before the reserve is looked at
_LOOK = 60.0  # seconds between two looks
_STOP_TIMEOUT = 10.0  # seconds; a sync to a slow disk
_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  version INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (resource, namespace, name));
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


class Write(NamedTuple):
    """One row to write; `body` None deletes it. `epoch` counts failures: a write made before one is not carried out."""

    epoch: int
    version: int
    resource: str
    namespace: str
    name: str
    body: bytes | None


Row = tuple[str, str, str, int, bytes]
Reported = Callable[[list[Write], Exception | None], None]


class Database:
    """The file of one node, locked against a second process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._look_at = 0.0
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))  # Secrets lie in it; -wal takes over the mode
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=1.0)
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in {0, _SCHEMA_VERSION}:
                raise MachineError(
                    "the node's store is of another release", where=str(self._path), why=f"its format is {version}"
                )
            if version != _SCHEMA_VERSION:  # a store that is whole is opened on a full disk, too: nothing is written
                connection.executescript(_SCHEMA)
                connection.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
        except (OSError, sqlite3.Error) as error:
            busy = "locked" in str(error)
            raise StoreFailedError(
                "the node's store cannot be opened",
                where=str(self._path),
                why=str(error),
                hint="another process of this node runs: stop it first" if busy else "check the disk and its space",
            ) from error
        return connection

    def load(self) -> Iterator[Row]:
        """Yield every stored row; only before `start`."""
        yield from self._connection.execute("SELECT resource, namespace, name, version, body FROM objects")

    def last_version(self) -> int:
        """The highest resource version that was ever written; only before `start`."""
        row = self._connection.execute("SELECT value FROM counters WHERE name = 'version'").fetchone()
        return int(row[0]) if row else 0

    def start(self, reported: Reported) -> None:
        """Start the writer; `reported` is called in its thread after each transaction, in the order of the writes."""
        self._thread = threading.Thread(target=self._run, args=(reported,), name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Write) -> None:
        """Queue a write."""
        self._queue.put(write)

    def reserve(self) -> bool:
        """Take the reserve where it is not whole and the disk has room; whether it is whole. Not beside the writer."""
        execute = self._connection.execute
        page = execute("PRAGMA page_size").fetchone()[0]
        log = self._path.with_name(f"{self._path.name}-wal")
        length = log.stat().st_size if log.exists() else 0
        if execute("PRAGMA freelist_count").fetchone()[0] * page >= RESERVE_BYTES <= length:
            return True
        found = os.statvfs(self._path.parent)
        if found.f_bavail * found.f_frsize < _ROOM * RESERVE_BYTES:
            return False
        execute("INSERT OR REPLACE INTO counters VALUES ('reserve', zeroblob(?))", (RESERVE_BYTES,))
        execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        execute("DELETE FROM counters WHERE name = 'reserve'")
        execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        execute("PRAGMA shrink_memory").fetchall()
        return True

    def stop(self) -> None:
        """Write what is queued, then close the file."""
        if self._thread:
            self._queue.put(None)
            self._thread.join(_STOP_TIMEOUT)
        self._connection.close()

    def _run(self, reported: Reported) -> None:
        epoch, running = 0, True
        while running:
            batch, running = self._next_batch()
            current = [write for write in batch if write.epoch >= epoch]
            if not current:
                continue  # the rest was failed with the write that it was computed on
            try:
                self._commit_somehow(current)
            except sqlite3.Error as error:
                # Later writes were computed on top of these: all that was queued until now fails with them.
                epoch = current[-1].epoch + 1
                reported(current, error)
            else:
                reported(current, None)

    def _next_batch(self) -> tuple[list[Write], bool]:
        item = self._next()
        batch: list[Write] = []
        while item is not None:
            batch.append(item)
            if len(batch) >= _LARGEST_BATCH or self._queue.empty():
                return batch, True
            item = self._queue.get()
        return batch, False

    def _next(self) -> Write | None:
        """The next write; while none comes, the reserve is looked after."""
        while True:
            try:
                return self._queue.get(timeout=_IDLE if time.monotonic() >= self._look_at else None)
            except queue.Empty:
                self._look_at = time.monotonic() + _LOOK
                with contextlib.suppress(OSError, sqlite3.Error):  # it is there for who writes, who is told of it then
                    self.reserve()

    def _commit_somehow(self, batch: list[Write]) -> None:
        """On a full disk the room that the log has is used again."""
        try:
            self._commit(batch)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
                raise
            self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            self._commit(batch)

    def _commit(self, batch: list[Write]) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            for write in batch:
                key = (write.resource, write.namespace, write.name)
                if write.body is None:
                    execute("DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?", key)
                else:
                    execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", (*key, write.version, write.body))
            execute("INSERT OR REPLACE INTO counters VALUES ('version', ?)", (batch[-1].version,))
            execute("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
