"""The commands, in this process, on a copy of this repository's deployment that never ran anywhere."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from binderops.cli.app import app, register_commands

REPOSITORY = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The files of the deployment."""
    root = tmp_path / "repository"
    for part in ("mybinder", "charts", "config", "secret", "examples"):
        shutil.copytree(REPOSITORY / part, root / part)
    for name in ("binderops.yaml", ".sops.yaml"):
        shutil.copy(REPOSITORY / name, root / name)
    return root


@pytest.fixture
def run(repository: Path, tmp_path: Path) -> Run:
    """run(arguments…): a command, with state folders of the test's own; answers as a program would."""
    register_commands()
    environment = {
        "BINDEROPS_STATE": str(tmp_path / "state"),
        "BINDEROPS_RUN": str(tmp_path / "run"),
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(app, [*arguments, "--directory", str(repository)], env=environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return command
