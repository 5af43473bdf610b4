"""Files of configMap, secret, projected and downwardAPI volumes, replaced as a whole.

A reader sees the old files or the new ones, never a mix: the files lie in a folder of their own, the link `..data`
points at it, and each visible name is a link through `..data` (the layout that programs watching ConfigMaps know).
Source: kubernetes/pkg/volume/util/atomic_writer.go.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from binderops.errors import VolumeSetupError
from binderops.node.pods.identity import Owner

DATA = "..data"


class File(NamedTuple):
    """One file's content and mode; `uid` where it is not the volume's owner."""

    content: bytes
    mode: int
    uid: int | None = None


def checked_path(path: str) -> str:
    """A relative path without `..`; VolumeSetupError otherwise (the API refuses such items too)."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise VolumeSetupError(f"invalid path: {path!r}")
    return str(PurePosixPath(path))


def write_payload(folder: Path, files: Mapping[str, File], owner: Owner) -> bool:
    """Make `folder` hold exactly `files` (relative path to file); returns whether anything changed."""
    files = {checked_path(path): file for path, file in files.items()}
    current = folder / DATA
    if current.is_dir() and _same(current, files):
        return False
    fresh = folder / f"..{datetime.now(UTC):%Y_%m_%d_%H_%M_%S}.{secrets.token_hex(4)}"
    fresh.mkdir(mode=0o755)
    os.chown(fresh, owner.uid, owner.gid)
    for path, file in files.items():
        _write(fresh, path, file, owner)
    previous = current.readlink() if current.is_symlink() else None
    link = folder / "..data_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.replace(current)
    _link_names(folder, {PurePosixPath(path).parts[0] for path in files})
    if previous is not None:
        shutil.rmtree(folder / previous, ignore_errors=True)
    return True


def _write(root: Path, path: str, file: File, owner: Owner) -> None:
    target = root / path
    for parent in reversed(target.relative_to(root).parents[:-1]):
        if not (root / parent).is_dir():
            (root / parent).mkdir(mode=0o755)
            os.chown(root / parent, owner.uid, owner.gid)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(file.content)
        os.fchown(descriptor, owner.uid if file.uid is None else owner.base + file.uid, owner.gid)
        # With fsGroup the kubelet lets the group read what the mode alone would keep from it.
        os.fchmod(descriptor, file.mode | (0o440 if owner.fs_group is not None else 0))


def _link_names(folder: Path, names: set[str]) -> None:
    for entry in folder.iterdir():
        # A folder is where another volume is mounted (nesting).
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    for name in names:
        if not (folder / name).is_symlink() and not (folder / name).is_dir():
            (folder / name).symlink_to(f"{DATA}/{name}")


def _same(current: Path, files: Mapping[str, File]) -> bool:
    present = {str(path.relative_to(current)) for path in current.rglob("*") if path.is_file()}
    if present != set(files):
        return False
    return all((current / path).read_bytes() == file.content for path, file in files.items())
