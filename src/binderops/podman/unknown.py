"""What an OCI runtime holds of a container that its engine does not know: its process (`runc init`) and its monitor.

An engine that is killed while a container starts has not noted yet that the runtime made the container's process, which
waits for its start for ever. Removed later, the container would leave it behind.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from binderops.podman.commands import run

STATES = {"runc": Path("/run/runc"), "crun": Path("/run/crun")}
"""Where each runtime, run by root, keeps its containers' states: one folder for each, by its id."""
_IDENTITY = re.compile("[0-9a-f]{64}")


async def end_unknown(identity: str) -> None:
    """End what is left of container `identity` after its engine removed it; EngineError if that fails.

    The monitor ends with the process that it watches.
    """
    if not _IDENTITY.fullmatch(identity):
        return
    for program, states in STATES.items():
        if (states / identity).is_dir():
            await run([program, "--root", str(states), "delete", "--force", identity])


def held_in(storage: Path) -> set[str]:
    """The ids of all containers of which a runtime holds something, and whose bundle lies in an engine's `storage`."""
    root = storage.resolve()
    return {
        folder.name
        for states in STATES.values()
        if states.is_dir()
        for folder in states.iterdir()
        if _IDENTITY.fullmatch(folder.name) and (bundle := _bundle(folder)) and bundle.resolve().is_relative_to(root)
    }


def _bundle(folder: Path) -> Path | None:
    """Where a container's configuration was when it was made: runc keeps it as a label, crun by name."""
    runc = _content(folder / "state.json")
    for label in (runc.get("config") or {}).get("labels") or []:
        name, _, value = str(label).partition("=")
        if name == "bundle":
            return Path(value)
    found = _content(folder / "status").get("bundle")
    return Path(str(found)) if found else None


def _content(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):  # being made, or gone meanwhile: the next look sees it
        return {}
