"""Removing trees of very many files: an engine's storage, where each layer is a whole system."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

WORKERS = 8
BRANCHES = 4 * WORKERS
DEEPEST = 5
"""A storage's layers lie three or four folders down; the trees in them are not looked into."""


def remove_tree(root: Path, *, ignore_errors: bool = False) -> None:
    """Remove `root` and all below it, several branches at a time: most of that time is the disk's, not the processor's.

    No symbolic link is followed. OSError if something stays, or with `ignore_errors` as much as can be is removed.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(partial(shutil.rmtree, ignore_errors=True), branches(root)))
    shutil.rmtree(root, ignore_errors=ignore_errors)


def branches(root: Path) -> list[Path]:
    """Folders below `root`, none in another, and enough of them for all workers where there are as many."""
    found = [root]
    for _ in range(DEEPEST):
        below = [folder for each in found for folder in _folders(each)]
        if not below:
            break
        found = below
        if len(found) >= BRANCHES:
            break
    return [] if found == [root] else found


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
