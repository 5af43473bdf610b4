"""The last verdict on a repository's secrets, kept on this machine, so that other commands can quote it."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from binderops.secrets.places import secret_folder
from binderops.secrets.rules import RULES_FILE


class Verdict(BaseModel):
    """When the secrets were checked, over which files, which findings there were, and up to which commit."""

    model_config = ConfigDict(frozen=True)

    time: datetime
    files: str
    findings: tuple[str, ...]
    commit: str | None = None
    opened: tuple[str, ...] = ()


def last_verdict(root: Path) -> Verdict | None:
    """The last one, or None."""
    try:
        return Verdict.model_validate_json(_path(root).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def is_current(root: Path, verdict: Verdict | None) -> bool:
    """Whether the sealed files are still those that the verdict is about."""
    return verdict is not None and verdict.files == files_digest(root)


def write_verdict(root: Path, verdict: Verdict) -> None:
    """Keeps a verdict; a machine where that cannot be written has none to quote."""
    path = _path(root)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(verdict.model_dump_json(indent=1), encoding="utf-8")
    except OSError:
        return


def files_digest(root: Path) -> str:
    """sha256 over everything below secret/, and the rules."""
    found = hashlib.sha256()
    paths = [path for path in secret_folder(root).rglob("*") if path.is_file()] + [root / RULES_FILE]
    for path in sorted(path for path in paths if path.exists()):
        found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return "sha256:" + found.hexdigest()


def _path(root: Path) -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path(os.environ.get("HOME", "/nonexistent")) / ".local/state")
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return Path(base) / "binderops" / "secrets" / f"{name}.json"
