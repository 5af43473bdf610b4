"""One commit of a remote repository: the names of its files, and their bytes on demand. Nothing is ever checked out.

Fetched without history into a bare repository of its own, by git itself, with a deadline and limits on what it may
write and use: a stranger chose the server. Links are texts here, submodules are not followed, filters do not run.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from binderops.errors import GitError
from binderops.git import process, remote
from binderops.git.hosts import InternalHost, addresses_of

DEADLINE_SECONDS = 30.0
LARGEST_PACK = 64 << 20
MOST_FILES = 20_000
_MEMORY_BYTES = 2 << 30
_LARGEST_LISTING = 8 << 20
_LARGEST_COMPLAINT = 64 << 10
_LISTED = re.compile(rb"([0-7]{6}) (\w+) ([0-9a-f]{40}|[0-9a-f]{64}) +(\d+|-)\t(.+)", re.DOTALL)
_SYMREF = re.compile(r"ref: refs/heads/(\S+)\tHEAD")
# A pack is one file, so that a limit on files is one on all that is fetched; what is malformed is refused at once.
_SETTINGS = ("fetch.unpackLimit=1", "fetch.fsckObjects=true", "gc.auto=0", "maintenance.auto=false")
# The provider's credentials are asked for from here: they are in no file and on no command line.
_HELPER = 'credential.helper=!f() { test "$1" = get && printf "%b\\n" "$GIT_CREDENTIAL_ENV"; }; f'


@dataclass(frozen=True)
class Blob:
    """A file or link of a commit; `mode` is git's (0o100644, 0o100755, 0o120000, 0o160000), `size` in bytes."""

    mode: int
    object: str
    size: int


@dataclass(frozen=True)
class Snapshot:
    """A fetched commit in a bare repository at `folder`; `branch` is the remote's default one, where it told."""

    folder: Path
    commit: str
    branch: str
    blobs: dict[str, Blob]

    def read(self, objects: Sequence[str]) -> list[bytes]:
        """The bytes of blobs, in the same order; raises GitError. The caller has seen how many they are."""
        asked = "".join(f"{name}\n" for name in objects).encode()
        answer = BytesIO(process.output(self.folder, "cat-file", "--batch", give=asked, seconds=DEADLINE_SECONDS))
        return [_content(answer, name) for name in objects]

    def metadata(self) -> Iterator[tuple[str, bytes]]:
        """Files of a `.git` that stands at this commit, over one of the same repository that may stand elsewhere."""
        if self.branch:
            yield "HEAD", f"ref: refs/heads/{self.branch}\n".encode()
            yield f"refs/heads/{self.branch}", f"{self.commit}\n".encode()
        else:
            yield "HEAD", f"{self.commit}\n".encode()
        yield "shallow", f"{self.commit}\n".encode()
        process.output(self.folder, "read-tree", self.commit, seconds=DEADLINE_SECONDS)
        yield "index", (self.folder / "index").read_bytes()
        for file in sorted((self.folder / "objects" / "pack").glob("pack-*.*")):
            if file.suffix in {".pack", ".idx"}:
                yield f"objects/pack/{file.name}", file.read_bytes()


async def fetch(
    url: remote.RemoteUrl,
    commit: str,
    folder: Path,
    *,
    internal: Sequence[InternalHost] = (),
    credentials: str = "",
    deadline: float = DEADLINE_SECONDS,
) -> Snapshot:
    """Fetch one commit, by its object name, into the new folder `folder`.

    `credentials` are lines of git-credential(1). Raises GitError: the host may not be asked, does not give this commit
    alone, redirects, or sends more than a snapshot may hold.
    """
    try:
        async with asyncio.timeout(deadline):
            addresses = await addresses_of(url.host, internal, by_proxy=remote.has_proxy(url))
            settings, address, environment = remote.pinned(url, addresses)
            if credentials:
                settings = [*settings, _HELPER]
            git = _Git(folder, settings, {**environment, "GIT_CREDENTIAL_ENV": credentials})
            folder.mkdir(parents=True)
            await git.run("init", "-q", "--bare", ".")
            fetching = git.run("fetch", "-q", "--depth=1", "--no-tags", "--no-write-fetch-head", "--", address, commit)
            _, told = await asyncio.gather(fetching, git.run("ls-remote", "--symref", "--", address, "HEAD"))
            peeled, listing = await asyncio.gather(
                git.run("rev-parse", "--verify", f"{commit}^{{commit}}"),
                git.run("ls-tree", "-r", "-l", "-z", "--full-tree", commit),
            )
    except TimeoutError as error:
        raise GitError(f"the commit was not fetched within {deadline:.0f} s", where=url.text) from error
    return Snapshot(folder, peeled.decode().strip(), _branch(told.decode(errors="replace")), _blobs(listing, url.text))


@dataclass(frozen=True)
class _Git:
    """Calls of git in one folder, with limits."""

    folder: Path
    settings: Sequence[str]
    environment: dict[str, str]

    async def run(self, *arguments: str) -> bytes:
        said = await process.run(
            process.command("-C", str(self.folder), *arguments, settings=[*_SETTINGS, *self.settings]),
            limits=[f"--as={_MEMORY_BYTES}", f"--fsize={LARGEST_PACK}"],
            environment=self.environment,
            most=(_LARGEST_LISTING, _LARGEST_COMPLAINT),
            too_much=_too_much,
        )
        if said.status != 0:
            why = said.complaint.decode(errors="replace").strip()[:500] or f"git exited with {said.status}"
            raise GitError(f"git {arguments[0]} failed", where=str(arguments[-2:]), why=why)
        return said.output


def _too_much(limit: int) -> GitError:
    return GitError(f"git says more than {limit >> 10} KiB", hint="the repository holds too many files")


def _branch(told: str) -> str:
    found = _SYMREF.search(told)
    try:
        return remote.check_ref(found[1]) if found else ""
    except GitError:
        return ""


def _blobs(listing: bytes, where: str) -> dict[str, Blob]:
    found: dict[str, Blob] = {}
    for line in listing.split(b"\0"):
        if not line:
            continue
        match = _LISTED.fullmatch(line)
        if not match:
            raise GitError("git lists what is not a file", where=where, why=repr(line[:100]))
        size = int(match[4]) if match[4] != b"-" else 0
        # Names are bytes to git: what is not UTF-8 stays what it is, in an archive too.
        found[os.fsdecode(match[5])] = Blob(int(match[1], 8), match[3].decode(), size)
    if len(found) > MOST_FILES:
        raise GitError(f"the repository holds more than {MOST_FILES} files", where=where)
    return found


def _content(answer: BinaryIO, name: str) -> bytes:
    header = answer.readline().split()
    if len(header) != 3 or header[0].decode() != name or header[1] != b"blob":
        raise GitError("git does not have a file of the commit", where=name)
    content = answer.read(int(header[2]))
    answer.read(1)
    return content
