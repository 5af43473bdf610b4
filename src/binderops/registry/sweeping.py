"""What no manifest needs any more goes: links first, then the blobs that no link names, then empty folders.

Nothing is removed at once. A link or a blob is put aside, where the registry does not find it; after SETTLE_SECONDS it
goes for good, unless a manifest needs it by then: who pushed at that very moment gets back what was taken.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from binderops.registry.picture import Link, Picture, Repository, digest_of_tag, needs_of
from binderops.registry.removing import give_back_tag, remove_tag
from binderops.registry.storage import (
    ASIDE,
    CURRENT,
    DATA,
    LINK,
    REVISIONS,
    TAGS,
    Storage,
    digests_in,
    put_aside,
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
                self._manifests(repository)  # one that comes back needs its layers
                self._links(repository)
        self._settle_blobs(linked)
        self._put_blobs_aside(linked)
        for folder in self._picture.hollow:
            self._remove_old(folder)
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
        taken = put_aside(link.folder, LINK, self._now)
        self.swept.waiting |= taken
        return taken

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
        if put_back(folder, LINK):
            self.swept.put_back.append(f"{repository.name}@{digest}")

    def _manifests(self, repository: Repository) -> None:
        for digest, link in repository.manifests.items():
            if link.aside is not None:
                self._settle_manifest(repository, link, digest)
            elif link.written is None:
                self._remove_old(link.folder)
        for tag, digest in repository.tags.items():
            folder = repository.folder / TAGS / tag
            (folder / CURRENT / ASIDE).unlink(missing_ok=True)
            is_old = self._is_old(time_of(folder / CURRENT / LINK))
            if is_old and digest not in repository.needs and not _is_there(repository, digest):
                shutil.rmtree(folder, ignore_errors=True)
        for tag in repository.tags_of_nothing:
            self._settle_tag(repository, repository.folder / TAGS / tag)

    def _settle_manifest(self, repository: Repository, link: Link, digest: str) -> None:
        """Whoever removed an image was stopped in the middle: it is removed, unless somebody had begun to use it."""
        if link.written is None and not self._is_old(link.aside):
            self._put_back(repository, link.folder, digest)
            return
        (link.folder / ASIDE).unlink(missing_ok=True)
        remove_if_empty(link.folder)

    def _settle_tag(self, repository: Repository, folder: Path) -> None:
        """A tag that means nothing: it was being removed, or it could not be written."""
        meant = digest_of_tag(folder, ASIDE)
        written = [time_of(path) or 0.0 for path in (folder, folder / CURRENT, folder / CURRENT / LINK)]
        if meant and _is_there(repository, meant):
            # Whoever took it was stopped before it saw that it means another manifest by now.
            if give_back_tag(folder):
                self.swept.put_back.append(f"{repository.name}:{folder.name}")
        elif meant:
            remove_tag(folder)
        elif not digest_of_tag(folder) and self._is_old(max(written)):
            (folder / CURRENT / LINK).unlink(missing_ok=True)
            remove_tag(folder)

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
            folder = self._storage.blob(digest)
            if digest in linked:
                self._return_blob(digest)
            elif self._now - blob.written >= SETTLE_SECONDS:
                (folder / ASIDE).unlink(missing_ok=True)
                remove_if_empty(folder)
                self.swept.blobs += 1
                self.swept.freed += blob.size
            else:
                self.swept.waiting = True

    def _put_blobs_aside(self, linked: set[str]) -> None:
        taken = {
            digest
            for digest, blob in self._picture.blobs.items()
            if digest not in linked
            and self._is_old(blob.written)
            and put_aside(self._storage.blob(digest), DATA, self._now)
        }
        if taken:
            self.swept.waiting = True
            # An upload of the same bytes finds them there and only writes a link: perhaps since the look at links.
            for digest in self._storage.linked_among(taken):
                self._return_blob(digest)

    def _return_blob(self, digest: str) -> None:
        if put_back(self._storage.blob(digest), DATA):
            self.swept.put_back.append(digest)


def _is_there(repository: Repository, digest: str) -> bool:
    return (repository.folder / REVISIONS / digest.removeprefix("sha256:") / LINK).exists()
