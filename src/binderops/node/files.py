"""Files of the node's own, written whole or not at all: who reads, and whatever crashes, sees the old or the new."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Write a file for its owner alone, by rename. With `durable` a power cut leaves no half of it. Raises OSError."""
    data = content.encode() if isinstance(content, str) else content
    fresh = path.with_name(f".{path.name}.new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as stream:
        os.fchmod(handle, 0o600)  # one that a crash left is used again
        stream.write(data)
        if durable:
            stream.flush()
            os.fsync(handle)
    fresh.replace(path)
