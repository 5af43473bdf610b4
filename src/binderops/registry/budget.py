"""When images must go from the registry, and which: the one that was not used for longest first.

An image is used by whoever asks for its manifest: the binder at each launch (and for each server that runs), a machine
that pulls it. What it frees is what no other image needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from binderops.registry.picture import Link, Picture, Repository


@dataclass(frozen=True)
class Thresholds:
    """Above `high` images go until `low`: per cent of the volume (relative), or bytes (absolute)."""

    kind: Literal["relative", "absolute"]
    high: float
    low: float
    capacity: int
    """Bytes that the volume was asked for: on one machine its file system is everybody's, and larger."""

    def bounds(self, held: int, free: int) -> tuple[int, int]:
        """Bytes above which cleaning begins, and those at which it ends.

        `free` is what the file system has left. The volume is what was asked for, or less where the disk has no room
        for that: then others fill it, and the registry gives back its share alone.
        """
        if self.kind == "absolute":
            return int(self.high), int(self.low)
        whole = min(self.capacity, held + free)
        return int(whole * self.high / 100), int(whole * self.low / 100)


@dataclass(frozen=True)
class Image:
    """A manifest of one repository that may go."""

    repository: Repository
    digest: str
    tags: tuple[str, ...]
    link: Link
    used: float
    """By itself, or by an index or record that names it; seconds since 1970."""
    is_named: bool = False
    """Whether an index or a record names it: those go before."""


def images_of(picture: Picture) -> list[Image]:
    """Every manifest, the one that was not used for longest first."""
    found = [image for repository in picture.repositories for image in _images_in(repository)]
    return sorted(found, key=lambda image: (image.used, image.is_named, image.repository.name, image.digest))


def removable(images: Sequence[Image], *, kept: Sequence[str], before: float) -> list[Image]:
    """Those that were last used before a moment, and whose `REPOSITORY:TAG` fits none of the patterns in `kept`."""
    guarded = {
        (image.repository.name, digest)
        for image in images
        if any(fnmatchcase(f"{image.repository.name}:{tag}", pattern) for tag in image.tags for pattern in kept)
        for digest in (image.digest, *image.repository.needs[image.digest])
    }
    return [image for image in images if image.used <= before and (image.repository.name, image.digest) not in guarded]


class Freeing:
    """How many bytes come free as images go, one after the other."""

    def __init__(self, picture: Picture) -> None:
        self._blobs = picture.blobs
        self._users = Counter(
            digest
            for repository in picture.repositories
            for manifest, needs in repository.needs.items()
            for digest in {manifest, *needs}
        )

    def is_needed(self, digest: str) -> bool:
        """Whether any manifest names it, or it is one."""
        return self._users[digest] > 0

    def remove(self, image: Image) -> int:
        """The bytes that nothing needs any more once this image is gone, too."""
        freed = 0
        for digest in {image.digest, *image.repository.needs[image.digest]}:
            self._users[digest] -= 1
            if self._users[digest] == 0 and digest in self._blobs:
                freed += self._blobs[digest].size
        return freed


def _images_in(repository: Repository) -> list[Image]:
    tags: dict[str, list[str]] = {}
    for tag, digest in sorted(repository.tags.items()):
        tags.setdefault(digest, []).append(tag)
    used = {digest: repository.manifests[digest].written or 0.0 for digest in repository.needs}
    # Who pulls an index or reads a record uses what it names.
    named_ones = set()
    for manifest, needs in repository.needs.items():
        for named in (needs & used.keys()) - {manifest}:
            named_ones.add(named)
            used[named] = max(used[named], repository.manifests[manifest].written or 0.0)
    return [
        Image(
            repository,
            digest,
            tuple(tags.get(digest, ())),
            repository.manifests[digest],
            used[digest],
            digest in named_ones,
        )
        for digest in repository.needs
    ]
