"""`sudo make` in somebody's clone leaves no file of root's there, however its command ended."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OWNER = pwd.getpwnam("nobody")
DEADLINE = 20
pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of root's")]

# What verbs leave: a folder of files, a file in a folder that was there, a link to a file that must stay root's.
STAND_IN = """
leaves = mkdir -p made/deep && touch made/deep/file src/file && ln -sfn $(outside) made/link
succeeds:
\t@$(leaves)
fails:
\t@$(leaves) && exit 7
waits:
\t@$(leaves) && exec /usr/bin/python3 -c 'import time; open("waiting", "w").close(); time.sleep(60)'
reads:
\t@cat >made
"""
Make = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of an unprivileged user's, with a stand-in for verbs that take longer."""
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "src").mkdir()
    (folder / "stand-in.mk").write_text(STAND_IN)
    (tmp_path / "outside").write_text("root's")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, OWNER.pw_uid, OWNER.pw_gid)
    return folder


@pytest.fixture
def make(clone: Path) -> Iterator[Make]:
    started: list[subprocess.Popen[str]] = []

    def run(target: str) -> subprocess.Popen[str]:
        command = ["make", "-f", "Makefile", "-f", "stand-in.mk", f"outside={clone.parent / 'outside'}", target]
        process = subprocess.Popen(
            command, cwd=clone, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def owned_by_root(clone: Path) -> list[str]:
    paths = [clone, *clone.rglob("*")]
    return [str(path.relative_to(clone)) for path in paths if 0 in (path.lstat().st_uid, path.lstat().st_gid)]


@pytest.mark.parametrize(("target", "code"), [("succeeds", 0), ("fails", 2)])
def test_what_a_verb_made_is_its_callers(clone: Path, make: Make, target: str, code: int) -> None:
    process = make(target)
    said, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == code, said
    assert ("Error 7" in said) is (target == "fails"), said
    assert (clone / "made/deep/file").exists()
    assert owned_by_root(clone) == []
    assert (clone.parent / "outside").stat().st_uid == 0


@pytest.mark.parametrize("whole_group", [True, False], ids=["ctrl-c", "sigterm"])
def test_also_when_it_is_interrupted(clone: Path, make: Make, whole_group: bool) -> None:
    process = make("waits")
    deadline = time.monotonic() + DEADLINE
    while not (clone / "waiting").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert owned_by_root(clone), "the verb has made nothing yet"
    if whole_group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    process.communicate(timeout=DEADLINE)
    assert process.returncode != 0
    assert owned_by_root(clone) == []


def test_a_verb_reads_what_its_caller_types(clone: Path, make: Make) -> None:
    process = make("reads")
    process.communicate("typed", timeout=DEADLINE)
    assert process.returncode == 0
    assert (clone / "made").read_text() == "typed"


def test_roots_own_clone_is_left_alone(clone: Path, make: Make) -> None:
    for path in (clone, *clone.rglob("*")):
        os.chown(path, 0, 0)
    process = make("succeeds")
    process.communicate(timeout=DEADLINE)
    assert (clone / "made/deep/file").stat().st_uid == 0
