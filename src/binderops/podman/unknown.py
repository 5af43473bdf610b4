"""What an OCI runtime holds of a container that its engine does not know: its process (`runc init`) and its monitor.

An engine that is killed while a container starts has not noted yet that the runtime made the container's process, which
waits for its start for ever. Removed later, the container would leave it behind.
"""

from __future__ import annotations

import re
from pathlib import Path

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
