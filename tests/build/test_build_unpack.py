"""Archives that strangers made: what is inner is unpacked, all else refused, and nothing lands outside."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path

import pytest

from binderops.build.unpack import unpack
from binderops.errors import BuildError


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", content: bytes = b"x", mode: int = 0o644
) -> tuple[tarfile.TarInfo, bytes]:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode = kind, link, mode
    found.size = len(content) if kind == tarfile.REGTYPE else 0
    return found, content


def write(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for found, content in entries:
            archive.addfile(found, io.BytesIO(content) if found.isreg() else None)
    return path


def test_files_folders_and_inner_links_are_unpacked(tmp_path: Path) -> None:
    archive = write(
        tmp_path / "a.tar.gz",
        entry("folder", tarfile.DIRTYPE, mode=0o755),
        entry("folder/run", content=b"#!/bin/sh", mode=0o6755),
        entry("link", tarfile.SYMTYPE, link="folder/run"),
        entry("folder/up", tarfile.SYMTYPE, link="../link"),
    )
    target = tmp_path / "out"
    target.mkdir()
    unpack(archive, target)
    assert (target / "folder/up").resolve().read_bytes() == b"#!/bin/sh"
    assert (target / "folder/run").stat().st_mode & 0o7777 == 0o755
    assert abs((target / "folder/run").stat().st_mtime - time.time()) < 60


OUTSIDE = [
    [entry("/etc/planted")],
    [entry("../planted")],
    [entry("a/../../planted")],
    [entry("out", tarfile.SYMTYPE, link=".."), entry("out/planted")],
    [entry("out", tarfile.SYMTYPE, link="/tmp")],
    [
        entry("a", tarfile.DIRTYPE),
        entry("a/b", tarfile.SYMTYPE, link="."),
        entry("c", tarfile.SYMTYPE, link="a/b/../.."),
    ],
    [entry("hard", tarfile.LNKTYPE, link="../secret")],
    [entry("hard", tarfile.LNKTYPE, link="/etc/passwd")],
    [entry("device", tarfile.CHRTYPE)],
    [entry("pipe", tarfile.FIFOTYPE)],
]


@pytest.mark.parametrize("entries", OUTSIDE)
def test_what_leads_outside_is_refused_and_nothing_lands_there(
    tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    (tmp_path / "secret").write_text("canary")
    target = tmp_path / "out"
    target.mkdir()
    archive = write(tmp_path / "a.tar.gz", *entries)
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(target)}
    with pytest.raises(BuildError):
        unpack(archive, target)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(target)} == before
    assert "canary" not in {path.read_text() for path in target.rglob("*") if path.is_file()}


def test_limits_and_what_is_no_archive(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    archive = write(tmp_path / "a.tar.gz", entry("a", content=b"12345"), entry("b", content=b"12345"))
    with pytest.raises(BuildError, match="too large"):
        unpack(archive, target, largest_bytes=9)
    with pytest.raises(BuildError, match="too large"):
        unpack(archive, target, most_entries=1)
    (tmp_path / "no.tar").write_bytes(b"not an archive" * 100)
    with pytest.raises(BuildError, match="cannot be unpacked"):
        unpack(tmp_path / "no.tar", target)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    archive = write(tmp_path / "a.tar.gz", entry("a", content=bytes(range(256)) * 400))
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BuildError, match="cannot be unpacked"):
        unpack(archive, target)
