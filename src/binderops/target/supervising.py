"""Who keeps the node's program running: systemd where it runs, else nobody, and it is a process in the background."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Protocol

from binderops.target.program import NodeProgram
from binderops.target.systemd import HostSystemctl, SystemdUnit

SYSTEMD_RUNS = Path("/run/systemd/system")
"""There while systemd is the machine's init: sd_booted(3)."""


class Supervisor(Protocol):
    """Starts the node's program and answers for it; what it starts is ended by process id as well."""

    def start(self) -> None:
        """Make it run, now and (where somebody sees to that) after the machine's next start. TargetError."""

    def keep(self) -> None:
        """Let what runs be started again as `start` would start it today; it is not touched. TargetError."""

    def ended(self) -> str | None:
        """How it ended, if what was started runs no more."""

    def halt(self) -> None:
        """Let it be ended, to be started again."""

    def stop(self) -> None:
        """Let it be ended for good."""

    def forget(self) -> None:
        """Remove what `start` wrote."""


class BackgroundProcess:
    """A process of its own session that outlives whoever started it."""

    def __init__(self, program: NodeProgram) -> None:
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; its process id is known before it says so itself."""
        with self._program.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._program.command,
                env=self._program.environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        pid_file = self._program.run / self._program.name / "node.pid"
        pid_file.write_text(f"{self._process.pid}\n", encoding="ascii")

    def keep(self) -> None:
        """Nobody starts it again."""

    def ended(self) -> str | None:
        """Its exit code."""
        code = self._process.poll() if self._process else None
        return None if code is None else f"exit {code}"

    def halt(self) -> None:
        """It is ended by its process id."""

    def stop(self) -> None:
        """It is ended by its process id."""

    def forget(self) -> None:
        """Nothing was written."""


def supervisor_of(program: NodeProgram, *, systemd: Path = SYSTEMD_RUNS) -> Supervisor:
    """A unit where systemd runs, else a process in the background."""
    return SystemdUnit(program, HostSystemctl()) if systemd.is_dir() else BackgroundProcess(program)
