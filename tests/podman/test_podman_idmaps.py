"""A folder shown under other ids, by the real kernel."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from binderops.podman.idmaps import can_map, mount_mapped

pytestmark = pytest.mark.root


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    folder = tmp_path / "stored"
    folder.mkdir()
    for name, owner in (("root", 200000), ("user", 201000), ("machine", 0)):
        (folder / name).write_text(name)
        os.chown(folder / name, owner, owner)
    return folder


def test_ids_are_moved_and_nothing_is_written(stored: Path, tmp_path: Path) -> None:
    assert can_map(stored)
    shown = tmp_path / "shown"
    shown.mkdir()
    mount_mapped(stored, shown, shown=(700000, 65536), stored=(200000, 65536))
    try:
        owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in shown.iterdir()}
        assert owners == {"root": (700000, 700000), "user": (701000, 701000), "machine": (65534, 65534)}
        assert (shown / "user").read_text() == "user"
        with pytest.raises(OSError, match="Read-only"):
            (shown / "new").touch()
    finally:
        subprocess.run(["umount", shown], check=True, timeout=20)
    assert (stored / "user").stat().st_uid == 201000


def test_what_cannot_be_shown_so(tmp_path: Path) -> None:
    assert not can_map(Path("/proc"))
    assert not can_map(tmp_path / "none")
    with pytest.raises(OSError, match="No such file"):
        mount_mapped(tmp_path / "none", tmp_path, shown=(700000, 10), stored=(200000, 10))
