"""The node's store: every object in memory, and on disk before anybody is told that it was written."""

from __future__ import annotations

from binderops.node.store.records import Change, Record
from binderops.node.store.store import AlreadyStoredError, StaleRecordError, Store
from binderops.node.store.watching import ExpiredVersionError, Watcher

__all__ = [
    "AlreadyStoredError",
    "Change",
    "ExpiredVersionError",
    "Record",
    "StaleRecordError",
    "Store",
    "Watcher",
]
