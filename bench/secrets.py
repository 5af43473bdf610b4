"""Secrets: opening and checking both environments' sealed files, beyond the program's own start; a guess's price."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench.report import Report, Series
from binderops.checks.secrets_files import read_secret_files
from binderops.checks.secrets_seals import seals
from binderops.checks.secrets_shared import shared
from binderops.secrets import sops
from binderops.secrets.identities import new_identity
from binderops.secrets.sharing import refresh_digests, slow_digests
from binderops.secrets.values import ClearText, Secret

VALUES = 50  # in each environment
HERE = {"staging": True, "prod": True}


def both_environments(n: int) -> Report:
    """Two environments of 50 credentials each, with a reader each, opened by somebody who has both keys."""
    report = Report("secrets", "opening, the program's start and guesses in turn")
    opening, starting, guessing = [], [], []
    with tempfile.TemporaryDirectory(prefix="binderops-bench-") as folder:
        root = Path(folder)
        os.environ["SOPS_AGE_KEY"] = "\n".join(_environment(root, name) for name in HERE)
        for name in HERE:
            refresh_digests(root, name)
        for _ in range(n):
            opening.append(_timed(lambda: _open_and_check(root)))
            starting.append(_timed(_start))
            guessing.append(_timed(lambda: slow_digests([Secret("a guess")], ClearText(b"k" * 32))))
    program = shutil.which(str(sops.find_sops().path)) or "sops"
    report.series = [
        Series(
            "open and check both",
            f"both files read, opened side by side by {Path(program).name}; metadata, strength and digests checked",
            "ms",
            opening,
            bar=200,
        ),
        Series("the program's own start", "`binderops --help`, from its start to its end", "ms", starting),
        Series("one guess", "scrypt of one value, as a slow digest is made; at least 50", "ms", guessing),
    ]
    return report


def _environment(root: Path, name: str) -> str:
    """Seals one environment for a reader of its own; answers with the reader's identity."""
    identity, recipient = new_identity()
    clear = "".join(f"key{number}: {{token: {os.urandom(24).hex()}}}\n" for number in range(VALUES))
    path = root / f"secret/config/{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sops.encrypt(ClearText(clear.encode()), name=f"secret/config/{name}.yaml", recipients=[recipient]))
    return identity


def _open_and_check(root: Path) -> None:
    files = read_secret_files(root, HERE)
    found = [*seals(files, now=datetime.now(UTC)), *shared(files)]
    assert not found and all(file.layer for file in files.files), found


def _start() -> None:
    subprocess.run(
        [str(Path(sys.executable).parent / "binderops"), "--help"], check=True, timeout=60, stdout=subprocess.DEVNULL
    )


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000
