"""A container's end while the engine does not answer: its process gets the signals nevertheless."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from binderops.node.pods import ending
from binderops.node.pods.ending import kill, stop_container
from binderops.node.pods.records import Record
from binderops.node.pods.status import View
from binderops.podman import Podman
from binderops.podman.machine import CGROUP_ROOT, remove_cgroup

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

ID = secrets.token_hex(32)
HEARS_NO_TERM = "trap '' TERM; echo ready; while :; do sleep 60; done"


def process(*command: str) -> subprocess.Popen[str]:
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None and started.stdout.readline() == "ready\n"
    return started


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that is named as an engine names a container's."""
    top = next(folder for folder in (CGROUP_ROOT / "pids", CGROUP_ROOT) if (folder / "cgroup.procs").exists())
    made = top / f"libpod-{ID}"
    made.mkdir()
    yield made
    remove_cgroup(made, top)


@pytest.fixture
def silent(tmp_path: Path) -> Any:
    """What these functions read of a kit, with an engine at whose socket nobody is."""
    return SimpleNamespace(podman=Podman(tmp_path / "nobody.sock"))


def record(pid: int) -> Record:
    return Record(ID, "uid", "main", 0, "running", 0, False, "", None, None, "", "", pid)


@contextlib.contextmanager
def running(script: str, group: Path | None) -> Iterator[subprocess.Popen[str]]:
    started = process("bash", "-c", script)
    try:
        if group is not None:
            (group / "cgroup.procs").write_text(str(started.pid))
        yield started
    finally:
        started.kill()
        started.wait(10)


@pytest.mark.parametrize(("script", "by"), [("echo ready; exec sleep 60", -15), (HEARS_NO_TERM, -9)])
async def test_it_is_ended_within_its_grace(
    silent: Any, group: Path, script: str, by: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "AWAY_SECONDS", 0.5)  # nobody starts this engine anew
    with running(script, group) as started:
        view = View({"name": "main"}, "app", record(started.pid))
        last = await stop_container(silent, {}, view, address="", grace=1.0)
        assert last is not None and last.state == "exited"
        assert started.wait(5) == by


async def test_a_process_that_is_somebody_elses_by_now_gets_none(silent: Any) -> None:
    with running("echo ready; exec sleep 60", None) as started:
        await kill(silent, record(started.pid))
        assert started.poll() is None
