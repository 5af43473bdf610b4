"""`up` from nothing: no state folder, no image, no page of a file in memory; a deployment of this bench's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.place import ROOT
from bench.report import Report, Series

_NAME = "nothing"
_PORT = int(os.environ.get("BINDEROPS_BENCH_PORT", "18380"))
_API = int(os.environ.get("BINDEROPS_BENCH_API", "16743"))
_STATE, _RUN = Path(f"/var/lib/binderops-{_NAME}"), Path(f"/run/binderops-{_NAME}")
_DEADLINE = 1800.0
_PROJECT = f"""\
chart: mybinder
images: {{platform: [global.images.platform], build: [global.images.build], notebook: [global.images.notebook]}}
environments:
  {_NAME}:
    target: {{node: {{name: {_NAME}, apiPort: {_API}}}}}
    layers: [config/local.yaml, config/{_NAME}.yaml]
    proof: examples/hello
"""
_LAYER = f"global: {{domain: {_NAME}.localhost, publicPort: {_PORT}}}\n"


def up_from_nothing(n: int) -> Report:
    """n times: purge, drop the machine's page cache, then `binderops up` to its proof."""
    report = Report("up-nothing", "one after another, each after a purge")
    samples, proofs = [], []
    with tempfile.TemporaryDirectory(prefix="binderops-bench-") as scratch:
        folder = Path(scratch)
        for part in ("mybinder", "charts", "config", "examples"):
            shutil.copytree(ROOT / part, folder / part)
        (folder / "binderops.yaml").write_text(_PROJECT, encoding="utf-8")
        (folder / f"config/{_NAME}.yaml").write_text(_LAYER, encoding="utf-8")
        try:
            for _ in range(n):
                _binderops("purge", folder)
                if _STATE.exists():
                    raise RuntimeError(f"{_STATE} is still there after purge: the figure would be a lie")
                subprocess.run(["sync"], check=True, timeout=300)
                Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")
                started = time.monotonic()
                told = _binderops("up", folder)
                samples.append(time.monotonic() - started)
                proofs.append(float(json.loads(told)["proof"]["seconds"]))
        finally:
            _binderops("purge", folder)
    report.series = [
        Series(
            "up from nothing",
            "binderops up to its proof; no state folder, no file in the page cache; the time of the package index "
            "(Debian's mirror, PyPI, npm) is in it, though the bar would allow it besides",
            "s",
            samples,
            bar=240,
        ),
        Series("  of it the proof", "pages, a launch with its build, a kernel's sum", "s", proofs),
    ]
    return report


def _binderops(command: str, folder: Path) -> str:
    program = str(Path(sys.executable).parent / "binderops")
    done = subprocess.run(
        [program, command, _NAME, "--directory", str(folder), "--output", "json"],
        env={**os.environ, "BINDEROPS_STATE": str(_STATE), "BINDEROPS_RUN": str(_RUN)},
        capture_output=True,
        text=True,
        timeout=_DEADLINE,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"binderops {command} {_NAME} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout
