"""What a program of ours is made of, as a digest: whoever started it can see that its code has changed since."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
NODE = ("node", "kube", "oci", "podman")
"""The rooms that the node's program is made of."""


@cache
def program_digest(rooms: tuple[str, ...] = NODE, *, package: Path = PACKAGE) -> str:
    """A digest over the sources of some rooms, what all rooms share, the interpreter, and the lock of its libraries.

    Read once a process: what runs is what was there when it began.
    """
    digest = hashlib.sha256(sys.version.encode())
    shared = sorted(package.glob("*.py"))
    # In a clone the libraries are the lock's; installed otherwise, they change with the package itself.
    lock = package.parents[1] / "uv.lock"
    own = [path for room in rooms for path in sorted((package / room).rglob("*")) if _is_source(path)]
    for path in (*shared, *own, *([lock] if lock.is_file() else [])):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts
