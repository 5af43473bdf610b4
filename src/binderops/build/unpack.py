"""Unpacking an archive that a stranger made: nothing outside the folder, no devices, and a limit on what it becomes."""

from __future__ import annotations

import tarfile
from pathlib import Path

from binderops.errors import BuildError

LARGEST_BYTES = 4 << 30
MOST_ENTRIES = 200_000


def unpack(
    archive: Path, target: Path, *, largest_bytes: int = LARGEST_BYTES, most_entries: int = MOST_ENTRIES
) -> None:
    """Unpack a tar (gzip or not) into the folder `target`.

    Python's own `data` filter refuses absolute names, names and links that lead outside, and devices (PEP 706). Raises
    BuildError for those, for what is not an archive, and when the limits are passed.
    """
    size = entries = 0
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
                opened.extract(member, target, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BuildError("the uploaded content cannot be unpacked", why=str(error)) from error
