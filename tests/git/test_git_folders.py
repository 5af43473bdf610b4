from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from tests.git.git_server import git

from binderops.errors import GitError
from binderops.git.folders import PackedFolder, pack_folder


def make(folder: Path) -> Path:
    folder.mkdir()
    for name in ("requirements.txt", "sub/index.ipynb", "run.sh", "ignored.log"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    (folder / "run.sh").chmod(0o755)
    (folder / ".gitignore").write_text("*.log\n")
    (folder / "link").symlink_to("sub/index.ipynb")
    return folder


def names(packed: PackedFolder) -> list[str]:
    with tarfile.open(packed.path) as tar:
        return tar.getnames()


def test_a_repository_gives_what_git_would_track(tmp_path: Path) -> None:
    folder = make(tmp_path / "repository")
    git(folder, "init", "-q")
    git(folder, "add", "requirements.txt", "run.sh")
    packed = pack_folder(folder, tmp_path / "a.tar.gz")
    assert names(packed) == [".gitignore", "link", "requirements.txt", "run.sh", "sub/index.ipynb"]
    assert packed.files == 5
    with tarfile.open(packed.path) as tar:
        assert {tar.getmember("run.sh").mode, tar.getmember("requirements.txt").mode} == {0o755, 0o644}
    (folder / "requirements.txt").unlink()
    assert "requirements.txt" not in names(pack_folder(folder, tmp_path / "b.tar.gz"))
    assert names(pack_folder(folder / "sub", tmp_path / "c.tar.gz")) == ["index.ipynb"]


def test_a_plain_folder_gives_everything(tmp_path: Path) -> None:
    folder = make(tmp_path / "plain")
    assert "ignored.log" in names(pack_folder(folder, tmp_path / "a.tar.gz"))


def test_the_same_content_is_the_same_archive(tmp_path: Path) -> None:
    first, second = make(tmp_path / "one"), make(tmp_path / "two")
    os.utime(second / "run.sh", (1, 1))
    (second / "run.sh").chmod(0o700)
    digests = {pack_folder(first, tmp_path / "a.tar.gz").digest, pack_folder(second, tmp_path / "b.tar.gz").digest}
    assert len(digests) == 1
    (second / "run.sh").write_text("changed")
    assert pack_folder(second, tmp_path / "c.tar.gz").digest not in digests


def test_files_behind_a_link_are_not_the_repositorys(tmp_path: Path) -> None:
    folder = make(tmp_path / "repository")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "index.ipynb").write_text("somebody's secret")
    (folder / "sub").rename(folder / "other")
    (folder / "sub").symlink_to(tmp_path / "outside")
    (folder / ".git/info/exclude").write_text("sub\nlink\n")  # or the link itself, which leaves, would be refused
    assert (folder / "sub/index.ipynb").exists()
    assert "sub/index.ipynb" not in names(pack_folder(folder, tmp_path / "a.tar.gz"))


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "sub/../../outside", ".."])
def test_links_that_leave_are_refused(tmp_path: Path, target: str) -> None:
    folder = make(tmp_path / "folder")
    (folder / "leaving").symlink_to(target)
    with pytest.raises(GitError, match="leaves the folder"):
        pack_folder(folder, tmp_path / "a.tar.gz")


def test_too_large_empty_missing_and_special(tmp_path: Path) -> None:
    folder = make(tmp_path / "folder")
    with pytest.raises(GitError, match="more than"):
        pack_folder(folder, tmp_path / "a.tar.gz", limit=10)
    os.mkfifo(folder / "pipe")
    with pytest.raises(GitError, match="neither"):
        pack_folder(folder, tmp_path / "a.tar.gz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(GitError, match="no files"):
        pack_folder(tmp_path / "empty", tmp_path / "a.tar.gz")
    with pytest.raises(GitError, match="no such folder"):
        pack_folder(tmp_path / "missing", tmp_path / "a.tar.gz")


def test_a_hostile_repository_runs_nothing(tmp_path: Path) -> None:
    folder = make(tmp_path / "hostile")
    git(folder, "init", "-q")
    witness = tmp_path / "witness"
    git(folder, "config", "core.fsmonitor", f"touch {witness}; false")
    pack_folder(folder, tmp_path / "a.tar.gz")
    assert not witness.exists()
