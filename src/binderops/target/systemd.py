"""The node as a unit of systemd: it comes back after a failure, and after the machine's next start.

Sources: systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.kill(5).
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from pathlib import Path
from typing import Protocol

from binderops.errors import TargetError
from binderops.podman.machine import CGROUP_ROOT
from binderops.target.program import NodeProgram

UNITS = Path("/etc/systemd/system")
_STOP_SECONDS = 60  # systemd waits so long for the process to end, and for what runs after it
_DEADLINE = 2.0 * _STOP_SECONDS + 30
# A stop of the unit leaves the pods alone. When the machine stops they are ended here: systemd, which knows nothing of
# them, would wait a minute and a half for those whose first process hears no SIGTERM, and then kill them all.
_IF_THE_MACHINE_STOPS = 'test "$(systemctl is-system-running)" != stopping || exec "$@"'
_PLAIN = re.compile(r"[A-Za-z0-9_@:,./+=-]+")


class Systemctl(Protocol):
    """systemd's own door."""

    def __call__(self, *arguments: str) -> str:
        """Runs systemctl and returns what it prints; TargetError when it refuses or does not answer."""


class HostSystemctl:
    """The machine's own systemctl."""

    def __call__(self, *arguments: str) -> str:
        """Runs it, as long as a stop may take."""
        command = ["systemctl", "--no-ask-password", *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TargetError("systemd does not answer", where=" ".join(command), why=str(error)) from None
        if done.returncode != 0:
            raise TargetError(
                "systemd refused", where=" ".join(command), why=done.stderr.strip(), hint="systemctl status"
            )
        return done.stdout


class SystemdUnit:
    """One node's unit, `binderops-NODE.service`."""

    def __init__(self, program: NodeProgram, systemctl: Systemctl, *, folder: Path = UNITS) -> None:
        self._program = program
        self._systemctl = systemctl
        self._file = folder / f"binderops-{program.name}.service"

    @property
    def name(self) -> str:
        """What systemctl calls it."""
        return self._file.name

    def start(self) -> None:
        """Writes the unit where it is new or another, enables and starts it."""
        self.keep()
        self._systemctl("start", self.name)

    def keep(self) -> None:
        """Writes the unit where it is new or another, and enables it where it is not."""
        environment = render_environment(self._program.environment())
        _write(self._program.environment_file, environment, mode=0o600)
        if _write(self._file, render_unit(self._program), mode=0o644):
            self._systemctl("daemon-reload")
        if self._systemctl("show", "--property=UnitFileState", "--value", self.name).strip() != "enabled":
            self._systemctl("enable", "--quiet", self.name)

    def ended(self) -> str | None:
        """What systemd says of a unit that does not run (it may be about to try again)."""
        told = self._systemctl("show", "--property=ActiveState,SubState,Result,ExecMainStatus", self.name)
        state = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
        over = state.get("ActiveState") in {"failed", "inactive"} or state.get("SubState") == "auto-restart"
        return f"{state.get('Result', 'unknown')}, exit {state.get('ExecMainStatus', '?')}" if over else None

    def halt(self) -> None:
        """Ends the process; the unit stays enabled. KillMode=process: the pods run on."""
        if self._file.exists():
            self._systemctl("stop", self.name)

    def stop(self) -> None:
        """Ends the process, and lets the machine's next start leave it ended."""
        if self._file.exists():
            self._systemctl("disable", "--quiet", "--now", self.name)

    def forget(self) -> None:
        """Removes the unit."""
        if self._file.exists():
            self._file.unlink()
            self._systemctl("daemon-reload")
        # Of a unit that has ended, systemd leaves the groups of v1's controllers.
        for group in CGROUP_ROOT.glob(f"*/system.slice/{self.name}"):
            with contextlib.suppress(OSError):
                group.rmdir()


def render_unit(program: NodeProgram) -> str:
    """The unit's text. Its ExecStart is all that a node needs; the environment adds a proxy or a CA."""
    # nftables.service flushes every rule as it starts; firewalls and Docker write theirs: the node comes after them.
    # Delegate keeps every controller on at the top of cgroup v2's tree, where the pods' groups stand beside the units'.
    return f"""\
# Written by `binderops up`; `binderops purge` removes it.
[Unit]
Description=BinderOps node {program.name}: this machine as a Kubernetes API
After=network-online.target nftables.service firewalld.service ufw.service docker.service
Wants=network-online.target
RequiresMountsFor={_quoted(str(program.state))}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={_words(program.command)}
ExecStopPost=-/bin/sh -c {_word(_IF_THE_MACHINE_STOPS)} sh {_words(program.stop_command)}
EnvironmentFile=-{_pattern(program.environment_file)}
StandardOutput=append:{_path(program.log)}
StandardError=append:{_path(program.log)}
KillMode=process
Delegate=yes
OOMPolicy=continue
Restart=on-failure
RestartSec=5
TimeoutStopSec={_STOP_SECONDS}
LimitNOFILE=1048576
TasksMax=infinity

[Install]
WantedBy=multi-user.target
"""


def render_environment(variables: dict[str, str]) -> str:
    """An EnvironmentFile; variables with line breaks are left out, since nothing here has them."""
    lines = []
    for name, value in sorted(variables.items()):
        if "\n" not in value:
            escaped = re.sub(r'(["\\$`])', r"\\\1", value)
            lines.append(f'{name}="{escaped}"\n')
    return "".join(lines)


def _words(command: list[str]) -> str:
    return " ".join(_word(part) for part in command)


def _word(part: str | Path) -> str:
    """One word of a command line, where `$` begins a variable."""
    return _quoted(str(part).replace("$", "$$"))


def _quoted(text: str) -> str:
    """One word of a list: `%` begins a specifier, quotes and backslashes as in C."""
    text = text.replace("%", "%%")
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _path(path: Path) -> str:
    """A path that takes the rest of its line: no quotes there, but specifiers."""
    return str(path).replace("%", "%%")


def _pattern(path: Path) -> str:
    """A path where a pattern of glob(7) is read."""
    return re.sub(r"([][*?\\])", r"\\\1", _path(path))


def _write(path: Path, text: str, *, mode: int) -> bool:
    """Writes a file by rename where it is new or another; whether it did."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=mode)
    temporary.write_text(text, encoding="utf-8")
    temporary.chmod(mode)
    temporary.replace(path)
    return True
