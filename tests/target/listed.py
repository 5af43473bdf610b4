"""The listing of a booted machine: its own processes, kernel and files, whatever this machine does meanwhile."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from tests.target.booted import Machine
from tests.target.whole import Listing, files_of

# Its own file systems; all other files are an overlay of this machine's, whose upper layer is read from here.
OWN = ("/run", "/tmp", "/dev", "/dev/shm", "/etc/systemd/system", "/var/lib/binderops")


def whole(machine: Machine) -> Listing:
    """All of it, as lines that compare."""
    listing: Listing = json.loads(machine.python("tests.target.whole", *OWN))
    listing["file"] += (line for line in files_of(machine.changed_files(), shown_as="") if not _is_below(line))
    return listing


def _is_below(line: str) -> bool:
    """Whether an overlay copied a folder only because of what was in it for a while: it is as it was."""
    path, mode, owner = line.rsplit(" ", 2)
    if not mode.startswith("d"):
        return False
    try:
        found = Path(path).lstat()
    except FileNotFoundError:
        return False
    return (mode, owner) == (stat.filemode(found.st_mode), f"{found.st_uid}:{found.st_gid}")
