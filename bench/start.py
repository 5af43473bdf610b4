"""The bare start of our notebook base beside that of a stock stack on the same Python."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from pathlib import Path

from bench.baseline import bare_container, recipe
from bench.launch import free_port, launch_example, nobody_runs
from bench.place import DIRECTORY, ENVIRONMENT
from bench.report import Report, Series
from binderops.cli.wiring import open_workspace
from binderops.delivery.proving import end_server

_PYTHON = "/usr/bin/python3"  # Debian's, as the base's own
_STOCK = ("jupyterlab", "notebook")


async def bare_start(n: int) -> Report:
    """In turn, n times: the base's jupyter-lab, then the stock one, in the same container."""
    workspace = open_workspace(DIRECTORY, ENVIRONMENT)
    first = await launch_example(workspace, DIRECTORY / "examples" / "hello")
    await end_server(first)
    await nobody_runs(workspace)
    report = Report("bare-start", "the base and the stock stack in turn")
    ours, stock = [], []
    with tempfile.TemporaryDirectory(prefix="binderops-bench-") as folder:
        stack = await asyncio.to_thread(_stock_stack, Path(folder))
        for _ in range(n):
            ours.append(await bare_container(first.result.image, port=free_port()))
            stock.append(await bare_container(first.result.image, port=free_port(), stack=stack))
    report.series = [
        Series("our notebook base", await recipe(first.result.image), "s", ours),
        Series(
            "stock stack",
            f"the same container, with the jupyter-lab of a venv of {_PYTHON}: pip install {' '.join(_STOCK)} "
            "(pip compiles bytecode)",
            "s",
            stock,
        ),
        Series(
            "share of stock's time",
            "the first divided by the stock start after it",
            "",
            [a / b for a, b in zip(ours, stock, strict=True)],
            bar=0.5,
        ),
    ]
    return report


def _stock_stack(folder: Path) -> Path:
    folder.chmod(0o755)
    stack = folder / "stock"
    subprocess.run([_PYTHON, "-m", "venv", str(stack)], check=True, timeout=120)
    subprocess.run(
        [str(stack / "bin" / "pip"), "install", "--quiet", *_STOCK], check=True, capture_output=True, timeout=600
    )
    return stack
