"""A machine's power cut, as far as one node is concerned: what lives in memory is gone, what lies on disk stays."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.listing import CGROUPS, running
from tests.e2e.networks import until


def cut_power(state: Path, run: Path, node: str) -> None:
    """Ends every process of a node at once, and removes its part of the kernel and of /run."""
    folders = (state / "nodes" / node, run / node)
    # The node first: it would bring back what is taken away after it.
    _kill([int((run / node / "node.pid").read_text())])
    until(lambda: not _kill(_processes(node, folders)), "the processes to end", timeout=20)
    for line in sorted(running(node, folders), reverse=True):
        kind, _, rest = line.partition(" ")
        match kind:
            case "mount":
                _run("umount", "--lazy", rest)
            case "namespace":
                _run("ip", "netns", "delete", rest.split()[0])
            case "table":
                _run("nft", "delete", "table", *rest.split()[-2:])
    for line in running(node, folders):
        if line.startswith("link "):
            _run("ip", "link", "delete", line.removeprefix("link "))
    for top in CGROUPS.glob(f"*/binderops/{node}"):
        for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
            folder.rmdir()
        top.rmdir()
    shutil.rmtree(run / node)
    until(lambda: not running(node, folders), f"nothing to be left: {running(node, folders)}", timeout=10)


def _processes(node: str, folders: tuple[Path, ...]) -> Iterator[int]:
    """Those that name the node's folders (conmon, the engine, the forwarder), and those in its pods' control groups."""
    for line in running(node, folders):
        if line.startswith("process "):
            yield int(line.split()[1])
    for file in CGROUPS.glob(f"*/binderops/{node}/**/cgroup.procs"):
        with contextlib.suppress(OSError):
            yield from (int(pid) for pid in file.read_text().split())


def _kill(pids: Iterator[int] | list[int]) -> int:
    """Kills them; how many there were."""
    count = 0
    for pid in pids:
        count += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return count


def _run(*command: str) -> None:
    # What goes with something else (a veth with its namespace) may be gone already: the last look decides.
    subprocess.run(command, capture_output=True, timeout=30, check=False)
