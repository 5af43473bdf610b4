"""The log of the programs that run on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FAILING = """
import structlog
from binderops import logs

logs.configure({form!r})
log = structlog.get_logger()
def unseal():
    password = "canary-" + "of-a-secret"
    raise ValueError("cannot unseal")
try:
    unseal()
except ValueError:
    log.exception("ended")
log.debug("not of interest")
"""


@pytest.mark.parametrize("form", ["json", "console", None])
def test_a_traceback_is_logged_without_its_local_variables(form: str | None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING.format(form=form)], capture_output=True, text=True, timeout=30, check=True
    )
    assert "cannot unseal" in done.stderr
    assert "in unseal" in done.stderr
    assert "canary-of-a-secret" not in done.stderr
    assert "not of interest" not in done.stderr
    assert done.stdout == ""


def test_each_line_is_an_object_where_no_terminal_reads() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING.format(form=None)], capture_output=True, text=True, timeout=30, check=True
    )
    (line,) = done.stderr.splitlines()
    assert json.loads(line).keys() == {"event", "level", "timestamp", "exception"}
