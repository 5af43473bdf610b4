"""The node's unit: its text, when it is written, and exactly what systemctl is asked to do."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from binderops.errors import TargetError
from binderops.target.program import NodeProgram
from binderops.target.supervising import BackgroundProcess, supervisor_of
from binderops.target.systemd import SystemdUnit, render_environment, render_unit


class Systemd:
    """systemctl's calls, and what it answers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.answer = ""

    def __call__(self, *arguments: str) -> str:
        self.calls.append(arguments)
        return self.answer

    def told(self) -> list[tuple[str, ...]]:
        calls, self.calls = self.calls, []
        return calls


@pytest.fixture
def program(tmp_path: Path) -> NodeProgram:
    made = NodeProgram("lab", tmp_path / "state", tmp_path / "run", 7443, ("127.0.0.1", "::1"))
    made.make_folders()
    return made


@pytest.fixture
def systemd() -> Systemd:
    return Systemd()


@pytest.fixture
def unit(program: NodeProgram, systemd: Systemd, tmp_path: Path) -> SystemdUnit:
    return SystemdUnit(program, systemd, folder=tmp_path)


def test_up_writes_enables_and_starts_and_again_only_starts(
    unit: SystemdUnit, systemd: Systemd, program: NodeProgram, tmp_path: Path
) -> None:
    unit.start()
    name = "binderops-lab.service"
    asked = ("show", "--property=UnitFileState", "--value", name)
    assert systemd.told() == [("daemon-reload",), asked, ("enable", "--quiet", name), ("start", name)]
    assert (tmp_path / name).read_text() == render_unit(program)
    systemd.answer = "enabled\n"
    unit.start()
    assert systemd.told() == [asked, ("start", name)], "the same unit is not loaded again"
    SystemdUnit(replace(program, api_port=7444), systemd, folder=tmp_path).start()
    assert systemd.told() == [("daemon-reload",), asked, ("start", name)]
    assert "--api-port 7444" in (tmp_path / name).read_text()


def test_of_a_node_that_runs_only_the_unit_is_renewed(
    unit: SystemdUnit, systemd: Systemd, program: NodeProgram, tmp_path: Path
) -> None:
    unit.start()
    systemd.told()
    (tmp_path / unit.name).write_text("of an older version")
    systemd.answer = "disabled\n"
    unit.keep()
    asked = ("show", "--property=UnitFileState", "--value", unit.name)
    assert systemd.told() == [("daemon-reload",), asked, ("enable", "--quiet", unit.name)]
    assert (tmp_path / unit.name).read_text() == render_unit(program)


def test_a_restart_keeps_it_enabled_down_disables_purge_removes(
    unit: SystemdUnit, systemd: Systemd, tmp_path: Path
) -> None:
    for action in (unit.halt, unit.stop, unit.forget):
        action()
    assert systemd.told() == [], "there is no unit: nothing is asked"
    unit.start()
    systemd.told()
    unit.halt()
    assert systemd.told() == [("stop", "binderops-lab.service")]
    unit.stop()
    assert systemd.told() == [("disable", "--quiet", "--now", "binderops-lab.service")]
    assert (tmp_path / "binderops-lab.service").exists()
    unit.forget()
    assert systemd.told() == [("daemon-reload",)]
    assert not (tmp_path / "binderops-lab.service").exists()


@pytest.mark.parametrize(
    ("state", "ended"),
    [
        ("ActiveState=active\nSubState=running\nResult=success\nExecMainStatus=0\n", None),
        ("ActiveState=activating\nSubState=start\nResult=success\nExecMainStatus=0\n", None),
        ("ActiveState=activating\nSubState=auto-restart\nResult=exit-code\nExecMainStatus=1\n", "exit-code, exit 1"),
        ("ActiveState=failed\nSubState=failed\nResult=oom-kill\nExecMainStatus=9\n", "oom-kill, exit 9"),
    ],
)
def test_how_it_ended(unit: SystemdUnit, systemd: Systemd, state: str, ended: str | None) -> None:
    systemd.answer = state
    assert unit.ended() == ended


def test_its_text(program: NodeProgram) -> None:
    lines = render_unit(program).splitlines()
    for line in ("KillMode=process", "Delegate=yes", "Restart=on-failure", "OOMPolicy=continue", "Type=exec"):
        assert line in lines
    assert lines[lines.index("[Install]") + 1 :] == ["WantedBy=multi-user.target"]
    assert f"ExecStart={' '.join(program.command)}" in lines
    assert program.command[1:4] == ["-P", "-m", "binderops.node"]


def test_words_that_systemd_would_take_for_something_else() -> None:
    program = NodeProgram("lab", Path('/a b/c"d/$x*'), Path("/50%/$HOME"), 7443, ())
    lines = dict(line.split("=", 1) for line in render_unit(program).splitlines() if "=" in line)
    assert '--state "/a b/c\\"d/$$x*" --run "/50%%/$$HOME" --name lab' in lines["ExecStart"]
    assert lines["RequiresMountsFor"] == '"/a b/c\\"d/$x*"'
    assert lines["EnvironmentFile"] == r"""-/a b/c"d/$x\*/nodes/lab/environment"""


def test_the_environment_is_closed_and_holds_only_the_machines_own(unit: SystemdUnit, program: NodeProgram) -> None:
    given = {"https_proxy": "http://u:p$w@proxy", "AWS_SECRET": "x", "PYTHONPATH": "/x", "PATH": "/bin", "TERM": "t"}
    kept = program.environment(given)
    assert kept == {"https_proxy": "http://u:p$w@proxy", "PATH": "/bin", "PYTHONUNBUFFERED": "1"}
    assert render_environment(kept) == 'PATH="/bin"\nPYTHONUNBUFFERED="1"\nhttps_proxy="http://u:p\\$w@proxy"\n'
    unit.start()
    assert program.environment_file.stat().st_mode & 0o777 == 0o600
    assert "environment" not in program.command


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="Debian's package systemd is not installed")
def test_systemd_understands_it(unit: SystemdUnit, tmp_path: Path) -> None:
    unit.start()
    file = tmp_path / unit.name
    assert _complaints(file) == ""
    file.write_text(file.read_text().replace("KillMode=process", "KillMod=process"))
    assert "KillMod" in _complaints(file), "it looks"


def _complaints(file: Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    # Units of this machine that it looks at beside ours are none of ours to mend.
    return "\n".join(line for line in done.stderr.splitlines() if file.name in line)


def test_where_systemd_does_not_run_it_is_a_process(program: NodeProgram, tmp_path: Path) -> None:
    assert isinstance(supervisor_of(program, systemd=tmp_path / "none"), BackgroundProcess)
    assert isinstance(supervisor_of(program, systemd=tmp_path), SystemdUnit)


def test_a_systemctl_that_refuses_is_named(program: NodeProgram, tmp_path: Path) -> None:
    def refuses(*arguments: str) -> str:
        raise TargetError("systemd refused", why="Unit is masked")

    with pytest.raises(TargetError, match="masked"):
        SystemdUnit(program, refuses, folder=tmp_path).start()
