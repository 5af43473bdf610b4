"""One commit of a real repository, by git's own daemon: what is fetched, and what is refused."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

import pytest
from tests.git.git_server import GitServer, git, git_server

from binderops.errors import GitError
from binderops.git import snapshots
from binderops.git.hosts import InternalHost
from binderops.git.remote import RemoteUrl
from binderops.git.snapshots import fetch

__all__ = ["git_server"]

LOOPBACK = [InternalHost("127.0.0.1", ipaddress.IPv4Network("127.0.0.1/32"))]


async def test_a_commit_without_its_history(git_server: GitServer, tmp_path: Path) -> None:
    folder = git_server.make("snapshot", {"a": "one", "d/b": "two"})
    (folder / "link").symlink_to("/etc/passwd")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "second")
    commit = git(folder, "rev-parse", "HEAD")
    found = await fetch(RemoteUrl.parse(git_server.url("snapshot")), commit, tmp_path / "x", internal=LOOPBACK)
    assert (found.commit, found.branch) == (commit, "main")
    assert {path: blob.mode for path, blob in found.blobs.items()} == {"a": 0o100644, "d/b": 0o100644, "link": 0o120000}
    names = [found.blobs[path].object for path in ("link", "a", "d/b")]
    assert found.read(names) == [b"/etc/passwd", b"one", b"two"]
    # Laid over a clone of the first commit, it is a clone of this one.
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(folder), str(clone))
    git(clone, "reset", "-q", "--hard", "HEAD~1")
    for name, content in found.metadata():
        (clone / ".git" / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / ".git" / name).write_bytes(content)
    (clone / "link").symlink_to("/etc/passwd")
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "rev-parse", "HEAD") == commit
    assert git(clone, "fsck", "--full") == ""


async def test_hosts_are_judged_here_too(git_server: GitServer, tmp_path: Path) -> None:
    with pytest.raises(GitError, match="no public address"):
        await fetch(RemoteUrl.parse(git_server.url("snapshot")), "0" * 40, tmp_path / "x")


async def test_too_much_is_refused(git_server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = git_server.make("large", {"a": "x"})
    (folder / "noise").write_bytes(os.urandom(3 << 20))
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "large")
    url, commit = RemoteUrl.parse(git_server.url("large")), git(folder, "rev-parse", "HEAD")
    assert (await fetch(url, commit, tmp_path / "all", internal=LOOPBACK)).blobs["noise"].size == 3 << 20
    monkeypatch.setattr(snapshots, "LARGEST_PACK", 1 << 20)
    with pytest.raises(GitError, match="git fetch failed"):
        await fetch(url, commit, tmp_path / "bytes", internal=LOOPBACK)
    monkeypatch.undo()
    monkeypatch.setattr(snapshots, "MOST_FILES", 1)
    with pytest.raises(GitError, match="more than 1 files"):
        await fetch(url, commit, tmp_path / "files", internal=LOOPBACK)
    with pytest.raises(GitError, match="not fetched within"):
        await fetch(url, commit, tmp_path / "late", internal=LOOPBACK, deadline=0.001)
