"""What was last known of an environment, for while it is stopped: its release and its proof are kept in its own API."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from binderops.delivery.results import EnvironmentStatus, Result
from binderops.delivery.workspace import Workspace, write_private


class _Seen(Result):
    time: str
    status: EnvironmentStatus


def remember(workspace: Workspace, status: EnvironmentStatus) -> None:
    """Writes it into the environment's folder on this machine; who may not (not root) leaves it as it is."""
    path = _path(workspace)
    seen = _Seen(time=datetime.now(UTC).isoformat(timespec="seconds"), status=status.model_copy(update={"pods": ()}))
    try:
        if not path.parent.is_dir():
            return
        write_private(path, seen.model_dump_json().encode())
    except OSError:
        return


def recalled(workspace: Workspace, status: EnvironmentStatus) -> EnvironmentStatus:
    """The status of what does not run, with the release and the proof that were last seen."""
    try:
        seen = _Seen.model_validate_json(_path(workspace).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return status
    kept = {name: getattr(seen.status, name) for name in ("release", "revision", "release_status", "live", "proven")}
    return status.model_copy(
        update={**kept, "notes": (*status.notes, f"release and proof as last seen at {seen.time}")}
    )


def _path(workspace: Workspace) -> Path:
    return workspace.generated_layer.parent / "last-seen.json"
