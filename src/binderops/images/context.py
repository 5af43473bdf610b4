"""A build context: exactly the files whose digest decides whether an image is still the same."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

# Layers are reused only while their files look the same: modification times would differ from clone to clone.
_MODIFIED = 1_700_000_000


def source_digest(files: Mapping[str, Path], *, parent: str, options: Mapping[str, str]) -> str:
    """Return 64 hexadecimal digits over the files' paths, modes and bytes, the parent's digest, and build options."""
    digest = hashlib.sha256()
    for part in (parent, *(f"{key}={value}" for key, value in sorted(options.items()))):
        digest.update(part.encode() + b"\0")
    for name, path in sorted(files.items()):
        executable = os.access(path, os.X_OK)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{name}\0{executable}\0{content}\0".encode())
    return digest.hexdigest()


def assemble(files: Mapping[str, Path], target: Path) -> None:
    """Copy `files` into the new folder `target`."""
    for name, path in files.items():
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        copy.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
        os.utime(copy, (_MODIFIED, _MODIFIED))
    for folder in [target, *(p for p in target.rglob("*") if p.is_dir())]:
        folder.chmod(0o755)
        os.utime(folder, (_MODIFIED, _MODIFIED))
