"""install-requirements of the notebook base, with a uv that only tells how it was called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "images" / "notebook" / "install-requirements"


@pytest.mark.parametrize(
    ("says", "code", "shown", "calls"),
    [
        ("Installed 3 packages in 5ms", 0, "Installed 3 packages in 5ms\n", 1),
        ("error: no network", 2, "error: no network\n", 1),
        # Not the end of it: looked for with what may move, and found.
        ("  × No solution found when resolving dependencies:", 1, "moved\n", 3),
    ],
)
def test_what_fits_is_installed_in_one_go(tmp_path: Path, says: str, code: int, shown: str, calls: int) -> None:
    uv, told = tmp_path / "uv", tmp_path / "calls"
    uv.write_text(
        f'#!/bin/sh\necho "$*" >> {told}\n'
        f'case "$*" in *server.txt*) [ {code} = 0 ] || exec >&2; echo "{says}"; exit {code} ;; esac\n'
        'case "$*" in *dry-run*) exit 0 ;; esac\n'
        "echo moved\n"
    )
    uv.chmod(0o755)
    done = subprocess.run(
        [str(PROGRAM), "-r", "requirements.txt"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    found = told.read_text().splitlines()
    assert len(found) == calls
    assert found[0].startswith("pip install --compile-bytecode --constraint ")
    assert done.stdout == shown
    assert done.returncode == (0 if shown == "moved\n" else code)
