"""`up`, ended at each of its steps by Ctrl-C and by kill -9; what the next one says becomes a page of the docs.

Only for `make interruptions` (some minutes; INTERRUPTIONS=STEP for one of them): the tests' own are in
test_e2e_zz_lifecycle.py.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import DOMAIN, NAME, ROOT, STATE
from tests.e2e.helming import change_the_release, helm_is_at_work, uninstall
from tests.e2e.imagebuilds import builds_an_image, forget_an_image

pytestmark = [
    *(pytest.mark.e2e, pytest.mark.podman, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1200)),
    pytest.mark.skipif(not os.environ.get("INTERRUPTIONS"), reason="make interruptions"),
]

KUBECONFIG = STATE / "nodes" / NAME / "kubeconfig"
PAGE = ROOT / "docs/develop/interruptions.md"
HEAD = """\
# Interrupted: what the next `up` says

Made by `make interruptions`: `binderops up` on a stopped deployment is ended as each step begins, and in the middle of
a build and of Helm's work, by Ctrl-C and by kill -9; then it is run again, and must end in a launch. Numbers and names
of one run are left out.

| ended during | by | exit | its last words | the next `up` |
|---|---|---|---|---|
"""
BUILD = "an image's build"
INSTALL, UPGRADE = "release: a first install", "release: an upgrade"
BEGUN = {
    "this machine": lambda told: "this machine" in told,
    "images": lambda told: "✓ this machine" in told,
    BUILD: lambda told: builds_an_image(),
    "node": lambda told: "✓ images" in told,
    "release": lambda told: "✓ node" in told,
    INSTALL: lambda told: helm_is_at_work(KUBECONFIG),
    UPGRADE: lambda told: helm_is_at_work(KUBECONFIG),
    "proof": lambda told: "✓ release" in told,
}


def test_each_step_can_be_interrupted_and_gone_on_from(deployed: Any, tmp_path: Path) -> None:
    rows = _known()
    for step, begun in BEGUN.items():
        if os.environ["INTERRUPTIONS"] not in {"1", step, step.partition(":")[0]}:
            continue
        for number in (signal.SIGINT, signal.SIGKILL):
            if step == INSTALL:
                assert deployed.run("up", NAME).returncode == 0
                uninstall(KUBECONFIG)
            assert deployed.run("down", NAME).returncode == 0
            if step == BUILD:
                forget_an_image()
            if step == UPGRADE:
                change_the_release(deployed.root)
            code, told = deployed.interrupted(tmp_path / "told", begun, number)
            assert code == (130 if number == signal.SIGINT else -signal.SIGKILL), told
            if number == signal.SIGINT:
                assert not builds_an_image(), "Ctrl-C leaves nothing running"
            again = deployed.run("up", NAME)
            assert not builds_an_image(), "of the killed one"
            assert again.returncode == 0, f"{step}, {number.name}: {again.stderr}"
            assert "✓ proof" in again.stderr
            assert ("was cut off, was marked failed" in again.stderr) == (step in {INSTALL, UPGRADE}), again.stderr
            by = "Ctrl-C" if number == signal.SIGINT else "kill -9"
            rows[step, by] = f"| {step} | {by} | {code} | {_words(told)} | {_steps(again.stderr)} |\n"
    order = [(step, by) for step in BEGUN for by in ("Ctrl-C", "kill -9")]
    PAGE.write_text(HEAD + "".join(rows[each] for each in order if each in rows), encoding="utf-8")


def _known() -> dict[tuple[str, str], str]:
    """The page's rows, by step and signal: a run of one step leaves the others' as they are."""
    rows = PAGE.read_text(encoding="utf-8").removeprefix(HEAD).splitlines(keepends=True) if PAGE.exists() else []
    cells = {row: [cell.strip() for cell in row.split("|")] for row in rows}
    return {(found[1], found[2]): row for row, found in cells.items() if len(found) > 3}


def _words(told: str) -> str:
    """The last thing it said."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return _plain(lines[-1]) if lines else "-"


def _steps(told: str) -> str:
    """Its finished steps."""
    return "<br>".join(_plain(line.strip()) for line in told.splitlines() if line.strip().startswith("✓"))


def _plain(text: str) -> str:
    text = re.sub(r"\s+", " ", text).replace("|", "/").replace(DOMAIN, "DOMAIN")
    return re.sub(r"\b\d+(\.\d+)*\b", "N", text)
