"""The node's own program as a target starts, restarts and stops it: the real process, serving the API alone."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from binderops.errors import MachineError, TargetError
from binderops.target import program as program_module
from binderops.target.machine import examine_machine
from binderops.target.node import NodeTarget
from binderops.target.program import NodeProgram
from binderops.target.supervising import BackgroundProcess

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class ApiOnly(NodeProgram):
    """Without pods and network: nothing of this machine is touched."""

    @property
    def arguments(self) -> list[str]:
        return [*super().arguments, "--api-only"]


class Target(NodeTarget):
    """A node whose program serves the API alone."""

    @property
    def program(self) -> NodeProgram:
        return ApiOnly(self.name, self.state, self.run, self.api_port, self.host_addresses)


def silent(text: str) -> None:
    """Nobody listens."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def made(folder: Path, *, port: int | None = None, name: str | None = None) -> Target:
    return Target(
        name=name or f"t{secrets.token_hex(3)}",
        api_port=port or free_port(),
        host_addresses=("127.0.0.1",),
        state=folder / "state",
        run=folder / "run",
        machine={},
        supervise=BackgroundProcess,
    )


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Target]:
    target = made(tmp_path)
    yield target
    await target.remove(report=silent)
    assert not target.folder.exists()


async def test_it_starts_once_and_again_only_when_its_program_changed(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await target.ensure(report=silent)
    pid = (await target.health()).details["pid"]
    assert first.started and pid
    unchanged = await target.ensure(report=silent)
    assert (unchanged.started, (await target.health()).details["pid"]) == (False, pid)
    monkeypatch.setattr(program_module, "program_digest", lambda: "another")
    again = await target.ensure(report=silent)
    assert again.started and "its program changed" in again.summary
    assert (await target.health()).details["pid"] != pid
    assert _gone(int(pid))


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_other_settings_are_a_reason_to_start_again(target: Target, tmp_path: Path) -> None:
    await target.ensure(report=silent)
    moved = made(tmp_path, name=target.name)
    result = await moved.ensure(report=silent)
    assert result.started and f"127.0.0.1:{moved.api_port}" in result.summary
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", target.api_port)) != 0, "it listens on the new port only"


async def test_nobody_else_reads_what_it_writes(target: Target) -> None:
    await target.ensure(report=silent)
    modes = {
        path: path.stat().st_mode & 0o777 for path in (target.folder, target.program.log, target.run / target.name)
    }
    assert list(modes.values()) == [0o711, 0o600, 0o700]
    assert target.program.log.parent.stat().st_mode & 0o777 == 0o700


async def test_a_program_that_ends_as_it_starts_is_told_with_its_log(target: Target) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", target.api_port))
        taken.listen()
        with pytest.raises(TargetError) as refused:
            await target.ensure(report=silent)
    assert "ended as it started (exit 1)" in refused.value.what
    assert f"127.0.0.1:{target.api_port}" in (refused.value.why or "")


async def test_a_stop_that_is_interrupted_leaves_no_child(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    await target.ensure(report=silent)
    hanging = ["sleep", "61"]
    monkeypatch.setattr(NodeProgram, "stop_command", hanging)
    stopping = asyncio.create_task(target.stop(report=silent))
    await _until(lambda: bool(_children(hanging)))
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert not _children(hanging)
    monkeypatch.undo()


async def _until(condition: object, *, seconds: float = 20) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def _children(command: list[str]) -> list[str]:
    wanted = "\0".join(command).encode() + b"\0"
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and (entry / "cmdline").read_bytes() == wanted:
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_port_is_ours_or_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [("127.0.0.1", int(taken.getsockname()[1]))]
        with pytest.raises(MachineError, match="is taken"):
            examine_machine(tmp_path, ports=ports, own=frozenset(), images_present=True)
        told = examine_machine(tmp_path, ports=ports, own=frozenset({os.getpid()}), images_present=True)
    assert "Podman" in told
