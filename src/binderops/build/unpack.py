"""Unpacking an archive that a stranger made: nothing outside the folder, no devices, and a limit on what it becomes."""

from __future__ import annotations

import os
import tarfile
import time
import zlib
from pathlib import Path

from binderops.errors import BuildError

LARGEST_BYTES = 4 << 30
MOST_ENTRIES = 200_000


def unpack(
    archive: Path, target: Path, *, largest_bytes: int = LARGEST_BYTES, most_entries: int = MOST_ENTRIES
) -> None:
    """Unpack a tar (gzip or not) into the folder `target`.

    Absolute names, names and links that lead outside, and devices are refused, as Python's own `data` filter does
    (PEP 706; Debian 12's Python 3.11.2 is older than it). Files are of now, as in a checkout: an archive that is the
    same for the same content has no times of its own. Raises BuildError for those, for what is not an archive, and
    when the limits are passed.
    """
    size = entries = 0
    now = int(time.time())
    try:
        with tarfile.open(archive, mode="r:*") as opened:
            for member in opened:
                entries += 1
                size += member.size
                if size > largest_bytes or entries > most_entries:
                    raise BuildError(
                        "the uploaded content is too large",
                        why=f"more than {largest_bytes >> 20} MiB or {most_entries} files",
                        hint="leave out data that the notebooks can fetch",
                    )
                member.mtime = now
                opened.extract(_checked(member, target.resolve()), target, set_attrs=member.isreg())
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise BuildError("the uploaded content cannot be unpacked", why=str(error)) from error


def _checked(member: tarfile.TarInfo, target: Path) -> tarfile.TarInfo:
    """The member with an owner and a mode of our own, or BuildError when it is not a plain inner thing."""
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise _refused(member, "it is neither a file, a folder nor a link")
    # realpath, not the text: an earlier link of the same archive may stand in the way.
    if not _inside(target / member.name.lstrip("/"), target) or member.name.startswith("/"):
        raise _refused(member, "its name leads outside")
    if member.issym() or member.islnk():
        start = target if member.islnk() else (target / member.name).parent
        if member.linkname.startswith("/") or not _inside(start / member.linkname, target):
            raise _refused(member, "its link leads outside")
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = (member.mode & 0o755) | 0o600
    return member


def _inside(path: Path, target: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(target)


def _refused(member: tarfile.TarInfo, why: str) -> BuildError:
    return BuildError("the uploaded content is refused", where=member.name, why=why)
