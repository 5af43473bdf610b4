"""The node's start: from its process to its kubeconfig and an answer of /readyz, on a new state and on a used one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPSConnection
from pathlib import Path

import psutil

from bench.place import ENVIRONMENT, RUN, STATE
from bench.report import Report, Series

_DEADLINE = 60.0
_RECIPE = "from the start of `python -m binderops.node` to a written kubeconfig and /readyz answering 200"


def node_ready(n: int) -> Report:
    """In turn: a node that was never there, and the deployment's own, ended by SIGTERM while its pods run on."""
    report = Report("node-ready", "new and used state in turn")
    new, new_cpu, used, used_cpu = [], [], [], []
    for _ in range(n):
        wall, cpu = _new()
        new.append(wall)
        new_cpu.append(cpu)
        wall, cpu = _used()
        used.append(wall)
        used_cpu.append(cpu)
    report.series = [
        Series("ready, new state", _RECIPE, "s", new, bar=2),
        Series("  of it CPU", "user and system time of the node's process until then", "s", new_cpu),
        Series(
            "ready, the release runs", f"{_RECIPE}; every pod that runs has its status written first", "s", used, bar=2
        ),
        Series("  of it CPU", "user and system time of the node's process until then", "s", used_cpu),
    ]
    return report


def _new() -> tuple[float, float]:
    name = "ready"
    with tempfile.TemporaryDirectory(prefix="binderops-bench-") as folder:
        state, run = Path(folder) / "state", Path(folder) / "run"
        arguments = ["--state", str(state), "--run", str(run), "--name", name, "--api-port", str(_free_port())]
        try:
            return _started(arguments, state / "nodes" / name / "kubeconfig", lambda process: _end(process, arguments))
        finally:
            subprocess.run(["umount", "--lazy", str(run / name / "memory")], check=False, capture_output=True)
            shutil.rmtree(state / "nodes", ignore_errors=True)


def _used() -> tuple[float, float]:
    """The deployment's node again, with the words that it was started with; it stays."""
    pid = int((RUN / ENVIRONMENT / "node.pid").read_text(encoding="ascii"))
    process = psutil.Process(pid)
    arguments = process.cmdline()[4:]  # python -P -m binderops.node
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=_DEADLINE)
    return _started(arguments, STATE / "nodes" / ENVIRONMENT / "kubeconfig", lambda process: None)


def _started(
    arguments: list[str], kubeconfig: Path, then: Callable[[subprocess.Popen[bytes]], None]
) -> tuple[float, float]:
    port = int(arguments[arguments.index("--api-port") + 1])
    log = kubeconfig.parent / "logs" / "node.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "binderops.node", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    try:
        while not (kubeconfig.exists() and _answers(port)):
            if process.poll() is not None or time.monotonic() - began > _DEADLINE:
                raise RuntimeError(f"the node did not become ready; see {log}")
            time.sleep(0.01)
        wall = time.monotonic() - began
        times = psutil.Process(process.pid).cpu_times()
        return wall, times.user + times.system
    finally:
        then(process)


def _answers(port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes], arguments: list[str]) -> None:
    words = [word for flag in ("--state", "--run", "--name") for word in (flag, arguments[arguments.index(flag) + 1])]
    subprocess.run(
        [sys.executable, "-m", "binderops.node", "stop", *words],
        check=False,
        capture_output=True,
        timeout=_DEADLINE,
    )
    process.wait(timeout=_DEADLINE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
