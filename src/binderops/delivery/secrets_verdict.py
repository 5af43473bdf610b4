"""The last verdict on a repository's secrets, kept on this machine, so that other commands can quote it.

It counts while everything that it is about is as it was: every file of the repository (layers sealed or clear, charts,
rules, binderops.yaml), git's HEAD, and the program that checked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from binderops.checks.secrets_clear import newest_commit, repository_files
from binderops.delivery.results import VerdictInfo
from binderops.secrets.places import environments_with_secrets, secret_folder
from binderops.state.project import PROJECT_FILE, Project


class Verdict(BaseModel):
    """When the secrets were checked, what that covers, which findings there were, up to which commit, with which files
    open.
    """

    model_config = ConfigDict(frozen=True)

    time: datetime
    covers: str
    findings: tuple[str, ...]
    commit: str | None = None
    opened: tuple[str, ...] = ()


def last_verdict(root: Path) -> Verdict | None:
    """The last one, or None."""
    try:
        return Verdict.model_validate_json(_path(root).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def is_current(root: Path, project: Project, verdict: Verdict) -> bool:
    """Whether all that the verdict is about is as it was."""
    return verdict.covers == covered_digest(root, project)


def quoted(root: Path, project: Project) -> VerdictInfo | None:
    """The last verdict as other commands quote it; None where a repository seals nothing."""
    if not environments_with_secrets(root):
        return None
    verdict = last_verdict(root)
    if verdict is None:
        return VerdictInfo()
    findings = tuple(dict.fromkeys(verdict.findings))
    return VerdictInfo(checked=verdict.time, findings=findings, current=is_current(root, project, verdict))


def write_verdict(root: Path, verdict: Verdict) -> None:
    """Keeps a verdict; a machine where that cannot be written has none to quote."""
    path = _path(root)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(verdict.model_dump_json(indent=1), encoding="utf-8")
    except OSError:
        return


def covered_digest(root: Path, project: Project) -> str:
    """sha256 over HEAD, this program's version, and name and content of every file that a check looks at."""
    found = hashlib.sha256(f"{version('binderops')}\0{newest_commit(root)}\0".encode())
    for path in sorted(set(_covered(root, project))):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            found.update(os.fsencode(path.relative_to(root)) + b"\0" + content)
    return "sha256:" + found.hexdigest()


def _covered(root: Path, project: Project) -> Iterator[Path]:
    """What git lists, and what makes up an environment though git may ignore it."""
    yield from repository_files(root)
    yield root / PROJECT_FILE
    charts = {project.chart, project.charts}
    for environment in project.environments.values():
        charts |= {first.chart for first in environment.before}
        layers = [*environment.layers, *(layer for first in environment.before for layer in first.layers)]
        for pattern in layers:
            yield from root.glob(pattern)
    for folder in (secret_folder(root), *(root / chart for chart in charts)):
        yield from folder.rglob("*")


def _path(root: Path) -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path(os.environ.get("HOME", "/nonexistent")) / ".local/state")
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return Path(base) / "binderops" / "secrets" / f"{name}.json"
