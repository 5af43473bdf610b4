"""Looking at, and stopping, a node's process from outside."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import ssl
import sys
import time
import urllib.error
import urllib.request

from binderops.errors import MachineError
from binderops.node.config import NodeConfig
from binderops.node.kubeconfig import server_url

_POLL = 0.05  # seconds
_ASK = 3.0  # seconds for /readyz to answer
NOT_RUNNING = 3


def running_process(config: NodeConfig) -> int | None:
    """The pid of the node's process; None when none holds the node's lock."""
    path = config.run / "node.pid"
    try:
        with path.open("r+", encoding="ascii") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(stream.read() or 0) or None
    except (FileNotFoundError, ValueError):
        return None
    return None


def is_ready(config: NodeConfig) -> bool:
    """Whether /readyz answers ok."""
    try:
        context = ssl.create_default_context(cafile=str(config.pki / "ca.crt"))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(f"{server_url(config)}/readyz", timeout=_ASK) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def print_status(config: NodeConfig) -> int:
    """Print the node's state as JSON; 0 when it is ready, 3 when not."""
    process = running_process(config)
    ready = process is not None and is_ready(config)
    state = {
        "name": config.name,
        "running": process is not None,
        "ready": ready,
        "pid": process,
        "server": server_url(config),
        "kubeconfig": str(config.admin_kubeconfig),
        "podRange": config.pod_range,
        "serviceRange": config.service_range,
    }
    sys.stdout.write(json.dumps(state, indent=2) + "\n")
    return 0 if ready else NOT_RUNNING


def stop(config: NodeConfig, *, seconds: float) -> int:
    """Stop the node's process (within `seconds`), then its pods, its forwarder and its network.

    Prints a line `stays: …` for each thing that others' programs keep. MachineError when the process does not end.
    """
    from binderops.node.wiring import stop_everything

    end = time.monotonic() + seconds
    process = running_process(config)
    if process is not None:
        _terminate(process, end, config)
    for stays in asyncio.run(stop_everything(config)):
        sys.stdout.write(f"stays: {stays}\n")
    return 0


def _terminate(process: int, end: float, config: NodeConfig) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGTERM)
    while running_process(config) is not None:
        if time.monotonic() > end:
            raise MachineError(
                "the node's process does not stop",
                where=f"pid {process}",
                why="it did not end after SIGTERM in the time given",
                hint=f"look at its log; kill -9 {process} loses nothing that was acknowledged",
            )
        time.sleep(_POLL)
