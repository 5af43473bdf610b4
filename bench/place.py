"""Which deployment is measured: `local` of this repository, unless the environment names another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ.get("BINDEROPS_BENCH_ENVIRONMENT", "local")
"""The environment's name, and its node's."""
DIRECTORY = Path(os.environ.get("BINDEROPS_BENCH_DIRECTORY", ROOT))
"""The repository that describes it."""
STATE = Path(os.environ.get("BINDEROPS_STATE", "/var/lib/binderops"))
RUN = Path(os.environ.get("BINDEROPS_RUN", "/run/binderops"))


def binderops(command: str, *, seconds: float, quiet: bool = True) -> None:
    """Runs `binderops COMMAND ENVIRONMENT`; CalledProcessError when it fails, TimeoutExpired when it takes longer."""
    program = str(Path(sys.executable).parent / "binderops")
    subprocess.run(
        [program, command, ENVIRONMENT, "--directory", str(DIRECTORY)],
        check=True,
        capture_output=quiet,
        timeout=seconds,
    )
