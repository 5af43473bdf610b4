"""What a node leaves on a machine, as one listing: before, while it is stopped, after it is gone."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
UNITS = Path("/etc/systemd/system")
SETTINGS = Path("/run/binderops-sysctls.json")


def running(node: str, folders: tuple[Path, ...]) -> set[str]:
    """What runs, or stands in the kernel, because of a node; an empty set once it is stopped."""
    return {
        *_processes(folders),
        *(f"namespace {name}" for name in _lines("ip", "netns", "list") if name.startswith(f"bo-{node}-")),
        *(f"link {name}" for name in _links() if name == f"bo-{node}" or name.startswith(veth_prefix(node))),
        *(f"route {line}" for line in _lines("ip", "route", "show", "table", "all") if _is_route_of(node, line)),
        *(f"table {line}" for line in _lines("nft", "list", "tables") if line.endswith(f"binderops-{node}")),
        *(f"mount {point}" for point in _mounts(folders)),
        *(f"cgroup {path}" for path in CGROUPS.glob(f"*/binderops/{node}")),
        *(f"rule {line}" for line in _lines("nft", "list", "ruleset") if _is_rule_of(node, line)),
    }


def remaining(node: str, folders: tuple[Path, ...]) -> set[str]:
    """What is left of a node that is gone for good: all of `running`, its files, its unit, its kernel settings.

    Settings are the machine's while other nodes run. What may stay at all is what `binderops purge` names itself.
    """
    links = [name for name in _links() if name.startswith("bo-")]
    return {
        *running(node, folders),
        *files(folders),
        *(f"unit {path}" for path in UNITS.glob(f"*binderops*{node}*")),
        *(f"settings {SETTINGS}" for _ in [0] if SETTINGS.exists() and not links),
    }


def files(folders: tuple[Path, ...]) -> set[str]:
    """Every file of a node's folders."""
    return {str(path) for folder in folders if folder.exists() for path in (folder, *folder.rglob("*"))}


def _processes(folders: tuple[Path, ...]) -> set[str]:
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z" and "pytest" not in command and any(str(folder) in command for folder in folders):
            found.add(f"process {entry.name} {command[:200]}")
    return found


def _links() -> list[str]:
    return [line.split(": ")[1].partition("@")[0] for line in _lines("ip", "-o", "link")]


def _is_route_of(node: str, line: str) -> bool:
    return f"dev bo-{node} " in line or f"dev {veth_prefix(node)}" in line


def _is_rule_of(node: str, line: str) -> bool:
    return f'"binderops-{node}"' in line or f'"{veth_prefix(node)}' in line


def veth_prefix(node: str) -> str:
    """How the names of the links to a node's pods begin."""
    return "bo" + hashlib.sha256(node.encode()).hexdigest()[:4]


def _mounts(folders: tuple[Path, ...]) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if any(point.startswith(str(folder)) for folder in folders)]


def _lines(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return [line.strip() for line in done.stdout.splitlines()]
