"""Where distribution's registry keeps what it stores, on a file system.

    blobs/sha256/AB/ABCD…/data                              the bytes, once, whoever has them
    repositories/NAME/_layers/sha256/ABCD…/link             this repository may read that blob
    repositories/NAME/_manifests/revisions/sha256/…/link    it has that manifest
    repositories/NAME/_manifests/tags/TAG/current/link      the digest that a tag means
    repositories/NAME/_manifests/tags/TAG/index/sha256/…    the digests that it ever meant
    repositories/NAME/_uploads/UUID/                        an upload that has begun

Source: https://github.com/distribution/distribution/blob/v2.8.2/registry/storage/paths.go
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LINK, DATA = "link", "data"
ASIDE = "aside"
"""A link or a blob's bytes that were put aside, in their own folder: the registry does not know them by this name.

So taking and putting back need no new folder, and no longer one: on a disk that is full to the last byte there is none.
"""
_HEX = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_PARTS = ("_manifests", "_layers", "_uploads")
CURRENT = "current"
"""Below a tag's folder: what it means now."""
LAYERS, REVISIONS, TAGS, UPLOADS = "_layers/sha256", "_manifests/revisions/sha256", "_manifests/tags", "_uploads"


@dataclass(frozen=True)
class Storage:
    """The folder that a registry's `rootdirectory` names."""

    root: Path

    @property
    def blobs(self) -> Path:
        """Below it each blob has a folder."""
        return self.root / "docker/registry/v2/blobs/sha256"

    @property
    def repositories(self) -> Path:
        """Below it each repository has a folder, by its name."""
        return self.root / "docker/registry/v2/repositories"

    def blob(self, digest: str) -> Path:
        """A blob's folder."""
        name = digest.removeprefix("sha256:")
        return self.blobs / name[:2] / name

    def repository(self, name: str) -> Path | None:
        """A repository's folder; None for what is no repository's name."""
        return self.repositories / name if _NAME.fullmatch(name) else None

    def each_repository(self) -> Iterator[tuple[str, Path]]:
        """Name and folder of every repository; one may lie below another."""
        waiting = [self.repositories]
        while waiting:
            folder = waiting.pop()
            names = names_in(folder)
            if any(part in names for part in _PARTS):
                yield folder.relative_to(self.repositories).as_posix(), folder
            waiting += [folder / name for name in names if not name.startswith("_")]

    def linked_among(self, digests: Collection[str]) -> set[str]:
        """Those that a repository names now, also by a link that was put aside."""
        return {
            digest
            for _, repository in self.each_repository()
            for part in (LAYERS, REVISIONS)
            for digest, folder in digests_in(repository / part)
            if digest in digests and any((folder / name).exists() for name in (LINK, ASIDE))
        }


def is_digest(text: str) -> bool:
    """Whether it is a digest as the registry's folders have them."""
    return text.startswith("sha256:") and _HEX.fullmatch(text.removeprefix("sha256:")) is not None


def names_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; none where it is gone."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    return []


def digests_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Digest and folder of whatever lies below a folder by the digits of its digest."""
    for name in names_in(folder):
        if _HEX.fullmatch(name):
            yield f"sha256:{name}", folder / name


def time_of(path: Path) -> float | None:
    """When it was written, in seconds since 1970; None where it is not there."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def put_aside(folder: Path, name: str, now: float) -> bool:
    """Take a file from the registry, dated `now`; whether it was there."""
    with suppress(FileNotFoundError):
        # Dated first: whoever is killed in between leaves what looks new, never what looks settled.
        os.utime(folder / name, (now, now))
        (folder / name).rename(folder / ASIDE)
        return True
    return False


def put_back(folder: Path, name: str) -> bool:
    """Give back what was put aside; False where there is a newer one, or nothing aside.

    One that is written at this very moment says the same: it is named by what it holds.
    """
    if (folder / name).exists():
        (folder / ASIDE).unlink(missing_ok=True)
        return False
    with suppress(FileNotFoundError):
        (folder / ASIDE).rename(folder / name)
        return True
    return False


def remove_if_empty(folder: Path) -> bool:
    """Whether the folder was empty and is gone."""
    try:
        folder.rmdir()
    except OSError:
        return False
    return True
