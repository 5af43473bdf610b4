"""What a registry's storage holds, read once: blobs, links, tags, and which blobs each manifest needs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from binderops.registry.storage import (
    ASIDE,
    CURRENT,
    DATA,
    LAYERS,
    LINK,
    REVISIONS,
    TAGS,
    UPLOADS,
    Storage,
    digests_in,
    names_in,
    time_of,
)

_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")


class Link(NamedTuple):
    """One link of a repository: when it was written or, of a manifest, last used; when it was put aside."""

    folder: Path
    written: float | None
    aside: float | None

    @classmethod
    def read(cls, folder: Path) -> Link:
        """As it is now."""
        return cls(folder, time_of(folder / LINK), time_of(folder / ASIDE))


class Blob(NamedTuple):
    """Bytes on disk, and when they were written (aside: when they were put there)."""

    size: int
    written: float


class Upload(NamedTuple):
    """An upload that has begun: its bytes, and when the last of them came."""

    folder: Path
    size: int
    written: float


@dataclass
class Repository:
    """One repository; `needs` tells of each manifest that it has which blobs it names."""

    name: str
    folder: Path
    layers: dict[str, Link] = field(default_factory=dict)
    manifests: dict[str, Link] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    tags_of_nothing: list[str] = field(default_factory=list)
    """Tags that mean nothing now: one is being written, or was being removed by whoever was stopped."""
    needs: dict[str, frozenset[str]] = field(default_factory=dict)
    uploads: list[Upload] = field(default_factory=list)

    @property
    def needed(self) -> set[str]:
        """What its manifests need, themselves included."""
        return set(self.needs).union(*self.needs.values())

    @property
    def is_empty(self) -> bool:
        """Whether only folders are left of it."""
        links = [*self.layers.values(), *self.manifests.values()]
        tags = [*self.tags, *self.tags_of_nothing]
        return not (tags or self.uploads or any(link.written or link.aside for link in links))


@dataclass
class Picture:
    """The whole storage."""

    repositories: list[Repository]
    blobs: dict[str, Blob]
    aside: dict[str, Blob]
    hollow: list[Path] = field(default_factory=list)
    """Folders of blobs that hold no byte: one is being written, or its writer or remover was stopped."""

    @property
    def held(self) -> int:
        """Bytes on disk that the registry holds, without those that were put aside already."""
        uploads = sum(upload.size for repository in self.repositories for upload in repository.uploads)
        return uploads + sum(blob.size for blob in self.blobs.values())

    @property
    def aside_bytes(self) -> int:
        """Bytes on disk of what was put aside."""
        return sum(blob.size for blob in self.aside.values())

    @property
    def linked(self) -> set[str]:
        """Every digest that a link names, also one that was put aside."""
        return {
            digest
            for repository in self.repositories
            for links in (repository.layers, repository.manifests)
            for digest, link in links.items()
            if link.written is not None or link.aside is not None
        }


def look_at(storage: Storage) -> Picture:
    """Read everything; raises OSError for what is there and cannot be read."""
    # Blobs first, links after them, manifests last: what is written meanwhile is then seen where it is needed.
    folders = [found for name in names_in(storage.blobs) for found in digests_in(storage.blobs / name)]
    blobs, aside = (
        {digest: blob for digest, folder in folders if (blob := _blob(folder / name)) is not None}
        for name in (DATA, ASIDE)
    )
    repositories = [_repository(storage, name, folder) for name, folder in storage.each_repository()]
    hollow = [folder for digest, folder in folders if digest not in blobs and digest not in aside]
    return Picture(repositories, blobs, aside, hollow)


def needs_of(storage: Storage, digest: str) -> frozenset[str]:
    """Every digest that stands anywhere in a manifest: none that it needs can be missed. Nothing if it is gone."""
    try:
        body = (storage.blob(digest) / DATA).read_bytes()
    except FileNotFoundError:
        return frozenset()
    return frozenset(found.decode() for found in _DIGEST.findall(body))


def _repository(storage: Storage, name: str, folder: Path) -> Repository:
    layers = {digest: Link.read(link) for digest, link in digests_in(folder / LAYERS)}
    tags = {tag: digest_of_tag(folder / TAGS / tag) for tag in names_in(folder / TAGS)}
    manifests = {digest: Link.read(link) for digest, link in digests_in(folder / REVISIONS)}
    needs = {digest: needs_of(storage, digest) for digest, link in manifests.items() if link.written is not None}
    return Repository(
        name,
        folder,
        layers,
        manifests,
        {tag: digest for tag, digest in tags.items() if digest},
        [tag for tag, digest in tags.items() if not digest],
        needs,
        list(_uploads(folder)),
    )


def digest_of_tag(folder: Path, name: str = LINK) -> str:
    """What a tag means, or meant (ASIDE); "" while it is being written, or where it is gone."""
    with suppress(FileNotFoundError, UnicodeDecodeError):
        text = (folder / CURRENT / name).read_text(encoding="ascii").strip()
        return text if _DIGEST.fullmatch(text.encode()) else ""
    return ""


def _blob(path: Path) -> Blob | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return Blob(found.st_blocks * 512, found.st_mtime)


def _uploads(folder: Path) -> Iterator[Upload]:
    for name in names_in(folder / UPLOADS):
        upload = folder / UPLOADS / name
        size, newest = 0, 0.0
        for place, _, files in os.walk(upload):
            for path in (Path(place), *(Path(place) / file for file in files)):
                with suppress(FileNotFoundError):
                    found = path.stat()
                    size, newest = size + found.st_blocks * 512, max(newest, found.st_mtime)
        yield Upload(upload, size, newest)
