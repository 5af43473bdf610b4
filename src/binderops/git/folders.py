"""A folder as one archive: what git tracks or would track, the same bytes for the same content.

Where the folder is no git repository, everything in it. The archive is what `binderops launch PATH` uploads.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from binderops.errors import GitError
from binderops.git import process

LARGEST_FOLDER = 512 << 20
MOST_FILES = 50_000
_DEADLINE_SECONDS = 60
# 2 January 1980: the first day that zip archives (wheels built from the folder) can hold in every time zone.
_MODIFIED = 315_619_200


@dataclass(frozen=True)
class PackedFolder:
    """An archive on disk: its digest (`sha256:…`), its size in bytes, and how many files it holds."""

    path: Path
    digest: str
    size: int
    files: int


def pack_folder(folder: Path, archive: Path, *, limit: int = LARGEST_FOLDER) -> PackedFolder:
    """Write the folder's tracked and unignored files to `archive` (tar.gz), at most `limit` bytes before compression.

    Raises GitError for a folder that is too large, empty, or holds a link that leaves it or what is not a file.
    """
    if not folder.is_dir():
        raise GitError("there is no such folder", where=str(folder))
    names = sorted(_names(folder))
    if not names:
        raise GitError("the folder holds no files", where=str(folder), hint="files that git ignores are not packed")
    if len(names) > MOST_FILES:
        raise GitError(f"the folder holds more than {MOST_FILES} files", where=str(folder))
    with archive.open("wb") as raw:
        _write(folder, names, raw, limit=limit)
    with archive.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    return PackedFolder(archive, f"sha256:{digest}", archive.stat().st_size, len(names))


def _names(folder: Path) -> Iterator[str]:
    tracked = _tracked(folder)
    for name in _walked(folder) if tracked is None else tracked:
        # A tracked file may be deleted; a submodule is listed as a folder, and is another repository.
        is_there = os.path.lexists(folder / name) and not _is_behind_a_link(folder, name)
        if is_there and ((folder / name).is_symlink() or not (folder / name).is_dir()):
            yield name


def _is_behind_a_link(folder: Path, name: str) -> bool:
    """Whether a link stands where the index has a folder: to git the file is deleted, and it may be anybody's."""
    return any((folder / parent).is_symlink() for parent in PurePosixPath(name).parents if parent.name)


def _tracked(folder: Path) -> list[str] | None:
    arguments = process.command("-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    try:
        answer = subprocess.run(
            arguments, env=process.environment(), capture_output=True, timeout=_DEADLINE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git did not list the folder within {_DEADLINE_SECONDS} s", where=str(folder)) from error
    if answer.returncode == 0:
        return sorted({os.fsdecode(name) for name in answer.stdout.split(b"\0") if name})
    complaint = answer.stderr.decode(errors="replace")
    if "not a git repository" in complaint:
        return None
    raise GitError("git cannot list the folder", where=str(folder), why=complaint.strip()[:500])


def _walked(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        if ".git" in folders:
            folders.remove(".git")
        linked = [name for name in folders if Path(parent, name).is_symlink()]
        for name in files + linked:
            yield os.path.relpath(Path(parent, name), folder)


def _write(folder: Path, names: list[str], raw: BinaryIO, *, limit: int) -> None:
    total = 0
    # The name and time of the gzip header would make the same content another archive.
    compressed = cast(BinaryIO, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0))
    with compressed, tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            entry = _entry(folder, name)
            total += entry.size
            if total > limit:
                raise GitError(
                    f"the folder holds more than {limit >> 20} MiB",
                    where=str(folder),
                    hint="let git ignore what the launch does not need (.gitignore)",
                )
            if entry.isreg():
                with (folder / name).open("rb") as file:
                    tar.addfile(entry, file)
            else:
                tar.addfile(entry)


def _entry(folder: Path, name: str) -> tarfile.TarInfo:
    status = (folder / name).lstat()
    entry = tarfile.TarInfo(name)
    entry.mtime = _MODIFIED
    if stat.S_ISLNK(status.st_mode):
        entry.type, entry.mode = tarfile.SYMTYPE, 0o777
        entry.linkname = _inner_target(folder, name)
    elif stat.S_ISREG(status.st_mode):
        entry.size = status.st_size
        entry.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    else:
        raise GitError("the folder holds what is neither a file nor a link", where=str(folder / name))
    return entry


def _inner_target(folder: Path, name: str) -> str:
    target = str((folder / name).readlink())
    inside = os.path.normpath(PurePosixPath(name).parent / target)
    if target.startswith("/") or inside == ".." or inside.startswith("../"):
        raise GitError(
            f"the link {name} leaves the folder",
            where=str(folder / name),
            why=f"it points to {target}",
            hint="replace it by the file itself, or let git ignore it",
        )
    return target
