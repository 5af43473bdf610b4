"""Files that are written whole or not at all."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from binderops.node.files import locked, write_whole

KILLED = """
import resource, signal, sys
from pathlib import Path
from binderops.node.files import write_whole
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
write_whole(Path(sys.argv[1]), "x" * 100)
"""


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_written_for_its_owner_alone(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    write_whole(path, "new", durable=durable)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_what_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as failed:
            write_whole(path, b"x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert failed.value.filename == str(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_what_a_crash_left_goes_with_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_whole(path, "old")
    (tmp_path / ".key.more.new").write_text("of another file")
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=30, check=False)
    assert ended.returncode == -signal.SIGXFSZ
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 3, "the crash left nothing to remove"
    (tmp_path / ".key.new").write_text("of an earlier release")
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert {entry.name for entry in tmp_path.iterdir()} == {"key", ".key.more.new"}


def test_many_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "key"
    contents = [str(number) * 5000 for number in range(8)]
    together = threading.Barrier(len(contents))

    def write(content: str) -> None:
        together.wait(20)
        for _ in range(50):
            write_whole(path, content, durable=False)
            assert path.read_text() in contents

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(write, contents))
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    (tmp_path / ".key.new").symlink_to("other")
    write_whole(tmp_path / "key", "new")
    assert (tmp_path / "other").read_text() == "kept" and (tmp_path / "key").read_text() == "new"


def test_a_folder_is_locked_by_one_at_a_time_and_not_for_ever(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(TimeoutError, match="another process") as failed, locked(tmp_path, seconds=0.1):
            pass
        assert failed.value.filename == str(tmp_path)
    with locked(tmp_path, seconds=0.1):
        pass
