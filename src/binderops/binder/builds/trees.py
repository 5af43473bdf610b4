"""The files of one commit or upload, as the binder looks at them: which environment they make, and what changed.

Nothing here is unpacked or run: names, modes and object names are compared, and bytes go from an archive into a layer.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from binderops.errors import BuildError
from binderops.git.snapshots import Blob, Snapshot
from binderops.oci.layers import Entry
from binderops.repository import FOLDERS, START, plain_environment

LINK, SUBMODULE, FILE, PROGRAM = 0o120000, 0o160000, 0o100644, 0o100755
LARGEST_CONTENT = 64 << 20
_LARGEST_TEXT = 1 << 20
_MOST_ATTRIBUTES = 64  # files; git is started for each
# What makes a checkout differ from what is stored: large files elsewhere, line ends, other encodings.
_CONVERTED = re.compile(r"\b(filter|eol|crlf|ident|working-tree-encoding)\b")
# The notebook base's home has settings of its own: what covered one of them cannot be taken away by a layer.
_OF_REPOSITORIES = frozenset({".gitignore", ".gitattributes", ".github", ".binder", ".gitlab-ci.yml", ".editorconfig"})

FetchTree = Callable[[Path], Awaitable["Tree"]]
"""Fetches the files of one commit or upload, into a new folder where it needs one; raises BinderOpsError."""

Listing = Mapping[str, tuple[int, str]]
"""Mode and object name of each file, by its path."""


class Tree(Protocol):
    """All files of one state of a repository."""

    @property
    def blobs(self) -> dict[str, Blob]:
        """All files, by their paths."""
        ...

    def read(self, paths: list[str]) -> list[bytes]:
        """Their bytes, in the same order."""
        ...

    def more(self) -> Iterator[tuple[str, bytes]]:
        """What belongs into an image besides, by its path."""
        ...


@dataclass(frozen=True)
class GitTree:
    """A fetched commit. An image of it holds `.git`, as a clone does."""

    snapshot: Snapshot

    @property
    def blobs(self) -> dict[str, Blob]:
        """All files."""
        return self.snapshot.blobs

    def read(self, paths: list[str]) -> list[bytes]:
        """Their bytes."""
        return self.snapshot.read([self.blobs[path].object for path in paths])

    def more(self) -> Iterator[tuple[str, bytes]]:
        """The `.git` that belongs to the commit."""
        for name, content in self.snapshot.metadata():
            yield f".git/{name}", content


@dataclass(frozen=True)
class ArchiveTree:
    """An uploaded folder, a tar.gz; object names are made as git makes them."""

    archive: Path
    blobs: dict[str, Blob] = field(init=False)

    def __post_init__(self) -> None:
        """Look through the archive; raises BuildError for what only a build looks into."""
        found: dict[str, Blob] = {}
        total = 0
        try:
            with tarfile.open(self.archive, "r:gz") as opened:
                for entry in opened:
                    total += entry.size
                    if total > LARGEST_CONTENT:
                        raise BuildError("the upload is large")
                    content, mode = _content(opened, entry)
                    if mode:
                        digest = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
                        found[entry.name.removeprefix("./")] = Blob(mode, digest.hexdigest(), len(content))
        except (tarfile.TarError, EOFError, OSError) as error:
            raise BuildError("the upload cannot be read", why=str(error)) from error
        object.__setattr__(self, "blobs", found)

    def read(self, paths: list[str]) -> list[bytes]:
        """Their bytes."""
        found: dict[str, bytes] = {}
        with tarfile.open(self.archive, "r:gz") as opened:
            for entry in opened:
                if entry.name.removeprefix("./") in paths:
                    found[entry.name.removeprefix("./")] = _content(opened, entry)[0]
        return [found[path] for path in paths]

    def more(self) -> Iterator[tuple[str, bytes]]:
        """Nothing: an upload holds no `.git`."""
        yield from ()


@dataclass(frozen=True)
class Changes:
    """What leads from one tree to another: files to write, and names to hide."""

    written: list[str]
    removed: list[str]


def listing_of(tree: Tree) -> Listing:
    """The tree as it is remembered."""
    return {path: (blob.mode, blob.object) for path, blob in tree.blobs.items()}


def environment_of(tree: Tree, *, builder: str) -> str:
    """The digest of the environment that a builder makes of this tree, "" where only a build can tell.

    Raises GitError or BuildError where a file cannot be read.
    """
    if any(blob.mode not in {FILE, PROGRAM, LINK} for blob in tree.blobs.values()) or ".gitmodules" in tree.blobs:
        return ""
    attributes = [path for path in tree.blobs if PurePosixPath(path).name == ".gitattributes"]
    if len(attributes) > _MOST_ATTRIBUTES:
        return ""
    if any(_CONVERTED.search(text) for text in map(_Texts(tree), attributes) if text):
        return ""
    files = plain_environment(tree.blobs.keys(), _Texts(tree))
    if files is None:
        return ""
    return hashlib.sha256(json.dumps([builder, sorted(files.items())]).encode()).hexdigest()[:32]


def changes(before: Listing, after: Tree) -> Changes:
    """What a layer over `before` must hold to show `after`; raises BuildError where a layer cannot."""
    now = listing_of(after)
    for path in now:
        if any(part.startswith(".wh.") or part in {"", ".", "..", ".git"} for part in path.split("/")):
            raise BuildError("a name means something else in a layer", where=path[:100])
    written = [path for path, is_now in now.items() if tuple(before.get(path, ())) != is_now]
    folders = {str(parent) for path in now for parent in PurePosixPath(path).parents}
    removed = dict.fromkeys(filter(None, (_hidden(path, now, folders) for path in before if path not in now)))
    return Changes(sorted(written), sorted(removed))


def entries_of(tree: Tree, written: list[str]) -> Iterator[Entry]:
    """Files for a layer, with the modes that a checkout gives them; raises BuildError where they are too large."""
    if sum(tree.blobs[path].size for path in written) > LARGEST_CONTENT:
        raise BuildError("the content is large")
    modified = int(time.time())
    starts = {START, *(f"{folder}/{START}" for folder in FOLDERS)}
    for path, content in zip(written, tree.read(written), strict=True):
        blob, entry = tree.blobs[path], tarfile.TarInfo(path)
        entry.mtime = modified
        if blob.mode == LINK:
            entry.type, entry.linkname = tarfile.SYMTYPE, content.decode(errors="surrogateescape")
            yield entry, None
            continue
        # A build makes the start script executable, whatever the repository says.
        entry.size, entry.mode = len(content), 0o755 if blob.mode == PROGRAM or path in starts else 0o644
        yield entry, BytesIO(content)
    for path, content in tree.more():
        entry = tarfile.TarInfo(path)
        entry.mtime, entry.size, entry.mode = modified, len(content), 0o644
        yield entry, BytesIO(content)


def _hidden(path: str, now: Listing, folders: set[str]) -> str:
    """What a layer hides so that a removed file is gone: the topmost folder that is gone with it, or the file.

    Empty where a file stands in place of a folder: that hides it by itself.
    """
    top = path.partition("/")[0]
    if top.startswith(".") and top not in _OF_REPOSITORIES:
        raise BuildError("a removed file may have covered one of the base's", where=path[:100])
    for parent in reversed(PurePosixPath(path).parents[:-1]):
        if str(parent) in now:
            return ""
        if str(parent) not in folders:
            return str(parent)
    return "" if path in folders else path


class _Texts:
    """Reads a tree's texts; None for what is a link, or too large to be looked into."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def __call__(self, path: str) -> str | None:
        blob = self._tree.blobs[path]
        if blob.mode == LINK or blob.size > _LARGEST_TEXT:
            return None
        return self._tree.read([path])[0].decode(errors="replace")


def _content(opened: tarfile.TarFile, entry: tarfile.TarInfo) -> tuple[bytes, int]:
    """Bytes and git's mode of an entry; mode 0 for a folder."""
    if entry.isdir():
        return b"", 0
    if entry.issym():
        return entry.linkname.encode(errors="surrogateescape"), LINK
    if not entry.isreg():
        raise BuildError("the upload holds what is neither file nor link", where=entry.name[:100])
    file: BinaryIO | None = opened.extractfile(entry)  # type: ignore[assignment]
    assert file is not None
    return file.read(), PROGRAM if entry.mode & 0o100 else FILE
