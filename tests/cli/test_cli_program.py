"""The program itself: its version, Ctrl-C while it still imports, and what is no repository."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from binderops.cli.app import app, register_commands

Run = Callable[..., subprocess.CompletedProcess[str]]
# Who runs tests in the background has Ctrl-C ignored.
START = """
import signal
import sys
from binderops.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)

class Tells:
    def find_spec(self, name, path, target=None):  # main's first import
        sys.meta_path.remove(self)
        print("here", flush=True)

sys.meta_path.insert(0, Tells())
main()
"""
PROGRAM = [sys.executable, "-c", START, "env"]


def test_it_tells_its_version() -> None:
    register_commands()
    assert CliRunner().invoke(app, ["--version"]).stdout == f"binderops {version('binderops')}\n"
    assert "Usage" in CliRunner().invoke(app, []).output


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
def test_ctrl_c_while_it_imports_is_quiet(delay: float, tmp_path: Path) -> None:
    process = subprocess.Popen(
        PROGRAM,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert process.stdout and process.stdout.readline() == "here\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in complaint) == (130, False), complaint


@pytest.mark.parametrize("what", ["", " "])
def test_nothing_is_not_the_current_folder(run: Run, what: str) -> None:
    done = run("launch", what)
    assert done.returncode == 2
    assert "neither a folder nor a repository" in done.stderr


@pytest.mark.root
def test_a_stopped_node_is_not_called_one_that_never_was(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "nodes" / "local"
    folder.mkdir(parents=True)
    (folder / "node.yaml").write_text("")
    shown = run("status", "local")
    assert re.search(r"local +stopped, its data kept", shown.stdout), shown.stdout
    assert shown.returncode == 1
    refused = run("logs", "hub")
    assert "is stopped" in refused.stderr


@pytest.mark.root
def test_a_stopped_environment_keeps_its_proof_in_view(run: Run, tmp_path: Path) -> None:
    node, kept = tmp_path / "state" / "nodes" / "local", tmp_path / "state" / "environments" / "local"
    node.mkdir(parents=True)
    (node / "node.yaml").write_text("")
    kept.mkdir(parents=True)
    record = {
        **{"number": 3, "action": "up", "verdict": "passed", "digest": "sha256:aa", "common": "sha256:bb"},
        **{"revision": 2, "time": "2026-01-01T00:00:00Z", "who": "root", "seconds": {}},
        **{"error": None, "without_proof": None},
    }
    seen = {"environment": "local", "target": "ready", "running": True, "live": "sha256:aa", "proven": record}
    seen |= {"release": "mybinder", "revision": 2, "release_status": "deployed"}
    (kept / "last-seen.json").write_text(json.dumps({"time": "2026-01-02T00:00:00+00:00", "status": seen}))
    shown = run("status").stdout
    assert "mybinder revision 2 (deployed)" in shown
    assert "passed at 2026-01-01T00:00:00Z by root (up)" in shown
    assert "as last seen at 2026-01-02" in shown
    (kept / "last-seen.json").write_text("{")
    assert "not known while it does not run" in run("status", "local").stdout


@pytest.mark.root
def test_there_is_nothing_to_stop_where_nothing_was_made(run: Run) -> None:
    done = run("down", "local")
    assert done.returncode == 0
    assert "nothing here to stop" in done.stdout + done.stderr


@pytest.mark.root
def test_what_only_root_may_ask_says_so(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "state" / "nodes" / "local"
    folder.mkdir(parents=True)
    for above in (tmp_path, *list(tmp_path.parents)[:3]):
        above.chmod(0o755)
    folder.parent.chmod(0o700)
    os.seteuid(65534)
    try:
        shown = run("status", "local")
    finally:
        os.seteuid(0)
    assert "needs root" in shown.stdout, shown.stdout + shown.stderr
