"""Files that are written whole or not at all."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from binderops.node.files import write_whole


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_written_for_its_owner_alone(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    (tmp_path / ".key.new").write_text("left by a crash, and longer than what follows")
    (tmp_path / ".key.new").chmod(0o644)
    write_whole(path, "new", durable=durable)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_what_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_whole(path, b"x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    (tmp_path / ".key.new").symlink_to("other")
    with pytest.raises(OSError, match="symbolic links"):
        write_whole(tmp_path / "key", "new")
    assert (tmp_path / "other").read_text() == "kept"
