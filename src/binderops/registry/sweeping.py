"""What no manifest needs any more goes: links first, then the blobs that no link names, then empty folders.

Nothing is removed at once. A link or a blob is put aside, where the registry does not find it; after SETTLE_SECONDS it
goes for good, unless a manifest needs it by then: who pushed at that very moment gets back what was taken.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from binderops.registry.picture import Link, Picture, Repository, needs_of
from binderops.registry.storage import (
    ASIDE,
    LINK,
    REVISIONS,
    TAGS,
    TAKEN_TAG,
    Storage,
    digests_in,
    names_in,
    put_back,
    remove_if_empty,
    time_of,
)

SETTLE_SECONDS = 60.0
"""So long it stays aside: far longer than the registry takes from a look at a file to its answer."""


@dataclass
class Swept:
    """What one sweep did; `waiting`: something lies aside, and the next sweep has work."""

    links: int = 0
    blobs: int = 0
    uploads: int = 0
    freed: int = 0
    put_back: list[str] = field(default_factory=list)
    waiting: bool = False

    def __bool__(self) -> bool:
        return bool(self.links or self.blobs or self.uploads or self.put_back)


class Sweep:
    """One sweep over a storage as `picture` shows it; `now` in seconds since 1970.

    Whatever was written less than `young` seconds ago stays though nothing needs it: a push writes its manifest last.
    """

    def __init__(self, storage: Storage, picture: Picture, *, now: float, young: float) -> None:
        self._storage = storage
        self._picture = picture
        self._now = now
        self._young = young
        self.swept = Swept()

    def run(self) -> Swept:
        """Put aside, put back, remove; raises OSError."""
        linked = self._picture.linked
        for repository in self._picture.repositories:
            self._uploads(repository)
            if repository.is_empty:
                self._remove_empty(repository)
            else:
                self._links(repository)
                self._manifests(repository)
        self._settle_blobs(linked)
        self._put_blobs_aside(linked)
        for name in names_in(self._storage.aside):
            if name.startswith(TAKEN_TAG):  # whoever took it was stopped
                shutil.rmtree(self._storage.aside / name, ignore_errors=True)
        return self.swept

    # --- repositories -------------------------------------------------------------------------------------------------

    def _uploads(self, repository: Repository) -> None:
        for upload in repository.uploads:
            if self._is_old(upload.written):
                shutil.rmtree(upload.folder, ignore_errors=True)
                self.swept.uploads += 1
                self.swept.freed += upload.size

    def _links(self, repository: Repository) -> None:
        needed, taken = repository.needed, False
        for digest, link in repository.layers.items():
            if link.aside is not None:
                self._settle(repository, link, digest, is_needed=digest in needed)
            elif link.written is None:
                self._remove_old(link.folder)
            elif digest not in needed and self._is_old(link.written):
                taken |= self._put_aside(link)
        if taken:
            self._look_again(repository)

    def _put_aside(self, link: Link) -> bool:
        with suppress(FileNotFoundError):
            os.utime(link.folder / LINK, (self._now, self._now))
            (link.folder / LINK).rename(link.folder / ASIDE)
            self.swept.waiting = True
            return True
        return False

    def _settle(self, repository: Repository, link: Link, digest: str, *, is_needed: bool) -> None:
        assert link.aside is not None
        aside = link.folder / ASIDE
        if link.written is not None:
            aside.unlink(missing_ok=True)
        elif is_needed:
            self._put_back(repository, link.folder, digest)
        elif self._now - link.aside >= SETTLE_SECONDS:
            aside.unlink(missing_ok=True)
            remove_if_empty(link.folder)
            self.swept.links += 1
        else:
            self.swept.waiting = True

    def _look_again(self, repository: Repository) -> None:
        """Manifests that came after the look at them: what they need was perhaps just put aside."""
        for digest, folder in digests_in(repository.folder / REVISIONS):
            if digest in repository.needs or not (folder / LINK).exists():
                continue
            for needed in needs_of(self._storage, digest) & repository.layers.keys():
                self._put_back(repository, repository.layers[needed].folder, needed)

    def _put_back(self, repository: Repository, folder: Path, digest: str) -> None:
        if put_back(folder):
            self.swept.put_back.append(f"{repository.name}@{digest}")

    def _manifests(self, repository: Repository) -> None:
        for link in repository.manifests.values():
            if link.aside is not None:
                # Whoever removed an image was stopped in the middle: it is removed.
                (link.folder / ASIDE).unlink(missing_ok=True)
            if link.written is None:
                self._remove_old(link.folder)
        for tag, digest in repository.tags.items():
            folder = repository.folder / TAGS / tag
            is_old = self._is_old(time_of(folder / "current" / LINK))
            if is_old and digest not in repository.needs and not _is_there(repository, digest):
                shutil.rmtree(folder, ignore_errors=True)

    def _remove_empty(self, repository: Repository) -> None:
        """The folders of a repository that holds nothing: the place of a build, an image's that is gone."""
        folders = [Path(place) for place, _, _ in os.walk(repository.folder, topdown=False)]
        # Judged together: each removal makes the folder above it young.
        if all(self._is_old(time_of(folder)) for folder in folders):
            above = repository.folder.parents[: len(Path(repository.name).parts) - 1]
            for folder in (*folders, *above):
                remove_if_empty(folder)

    def _remove_old(self, folder: Path) -> bool:
        """A folder that is empty, and was so for long: the registry makes folders before it writes into them."""
        return self._is_old(time_of(folder)) and remove_if_empty(folder)

    def _is_old(self, written: float | None) -> bool:
        return written is not None and self._now - written > self._young

    # --- blobs --------------------------------------------------------------------------------------------------------

    def _settle_blobs(self, linked: set[str]) -> None:
        for digest, blob in self._picture.aside.items():
            aside = self._storage.blob_aside(digest)
            if digest in linked:
                self._return_blob(digest)
            elif self._now - blob.written >= SETTLE_SECONDS:
                shutil.rmtree(aside, ignore_errors=True)
                self.swept.blobs += 1
                self.swept.freed += blob.size
            else:
                self.swept.waiting = True

    def _put_blobs_aside(self, linked: set[str]) -> None:
        taken = set()
        for digest, blob in self._picture.blobs.items():
            if digest not in linked and self._is_old(blob.written):
                aside = self._storage.blob_aside(digest)
                aside.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):
                    self._storage.blob(digest).rename(aside)
                    os.utime(aside, (self._now, self._now))
                    taken.add(digest)
        if taken:
            self.swept.waiting = True
            # An upload of the same bytes finds them there and only writes a link: perhaps since the look at links.
            for digest in self._storage.linked_among(taken):
                self._return_blob(digest)

    def _return_blob(self, digest: str) -> None:
        folder, aside = self._storage.blob(digest), self._storage.blob_aside(digest)
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_if_empty(folder)
        if folder.exists():  # uploaded again
            shutil.rmtree(aside, ignore_errors=True)
            return
        with suppress(FileNotFoundError):
            aside.rename(folder)
            self.swept.put_back.append(digest)


def _is_there(repository: Repository, digest: str) -> bool:
    return (repository.folder / REVISIONS / digest.removeprefix("sha256:") / LINK).exists()
