"""A whole machine as lists: what a purge is judged by, before and after. `python -m tests.target.whole` prints it.

Nothing in it looks for names of ours: a leak is whatever is there that was not, unless `allowed` says why it may be.
Files are those of the folders that are given; `files_of` reads a machine's own layer over another's file system.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

Listing = dict[str, list[str]]

_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_COUNTERS = re.compile(r" (qlen|qdisc) \S+| state \S+|expires \S+")


def listing(folders: Iterable[str] = ()) -> Listing:
    """Each kind of thing that a program can leave behind, and all of it, as lines that compare."""
    return {
        "process": _processes(),
        "namespace": _namespaces(),
        "mount": _mounts(),
        "link": [*map(_plain, _output("ip", "-o", "link")), *map(_plain, _output("ip", "-o", "address"))],
        "route": [
            *_output("ip", "route", "show", "table", "all"),
            *_output("ip", "-6", "route", "show", "table", "all"),
        ],
        "rule": [*_output("ip", "rule"), *_output("ip", "-6", "rule")],
        "table": _output("nft", "--stateless", "list", "ruleset"),
        "sysctl": _output("sysctl", "--all", "--ignore"),
        "unit": [*_units("list-units", "--all"), *_units("list-unit-files")],
        "cgroup": _cgroups(),
        "shared memory": [line for name in ("shm", "sem", "msg") for line in _columns(Path("/proc/sysvipc", name))],
        "file": [line for folder in folders for line in files_of(Path(folder))],
    }


def added(before: Mapping[str, list[str]], after: Mapping[str, list[str]], allowed: Mapping[str, str]) -> Listing:
    """What is there after that was not before, or the other way round ("- …"), of each kind.

    `allowed` has a regular expression that a line ("kind line") begins with for each reason.
    """
    found: Listing = {}
    for kind in after:
        was, is_now = Counter(before[kind]), Counter(after[kind])
        lines = [*(is_now - was).elements(), *(f"- {line}" for line in (was - is_now).elements())]
        left = [
            line for line in lines if not any(re.match(each, f"{kind} {line.removeprefix('- ')}") for each in allowed)
        ]
        if left:
            found[kind] = sorted(left)
    return found


def files_of(folder: Path, *, shown_as: str | None = None) -> Iterator[str]:
    """Every file below a folder, on its own file system: path, type and mode, owner, size and when it was written."""
    name = str(folder) if shown_as is None else shown_as
    device = folder.lstat().st_dev
    for at, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if _device(f"{at}/{each}") == device]
        for each in (*folders, *files):
            try:
                found = os.lstat(f"{at}/{each}")
            except FileNotFoundError:
                continue
            path = f"{name}{at.removeprefix(str(folder))}/{each}"
            written = "" if stat.S_ISDIR(found.st_mode) else f" {found.st_size} {found.st_mtime_ns}"
            yield f"{path} {stat.filemode(found.st_mode)} {found.st_uid}:{found.st_gid}{written}"


def _device(path: str) -> int | None:
    try:
        return os.lstat(path).st_dev
    except FileNotFoundError:
        return None


def _processes() -> list[str]:
    own = {os.getpid(), os.getppid()}
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if int(entry.name) not in own and command and state != "Z":
            found.append(command)
    return found


def _namespaces() -> list[str]:
    """The named ones, and how many of each kind processes are in."""
    held: dict[str, set[str]] = {kind: set() for kind in _NAMESPACES}
    for entry in Path("/proc").glob("[0-9]*"):
        for kind in _NAMESPACES:
            try:
                held[kind].add(str((entry / "ns" / kind).readlink()))
            except OSError:
                continue
    return [*_output("ip", "netns", "list"), *(f"{kind} {n}" for kind in _NAMESPACES for n in range(len(held[kind])))]


def _mounts() -> list[str]:
    """Root in its file system, place, options, kind and source of each; no ids."""
    found = []
    for line in Path("/proc/1/mountinfo").read_text().splitlines():
        first, _, second = line.partition(" - ")
        found.append(" ".join([*first.split()[3:6], *second.split()[:2]]))
    return found


def _units(*words: str) -> list[str]:
    if not Path("/run/systemd/system").exists():
        return []
    return [" ".join(line.split()) for line in _output("systemctl", *words, "--plain", "--no-legend", "--no-pager")]


def _cgroups() -> list[str]:
    return [at for at, _, _ in os.walk("/sys/fs/cgroup")]


def _columns(table: Path) -> list[str]:
    """Key and id of each row."""
    return [f"{table.name} {' '.join(line.split()[:2])}" for line in table.read_text().splitlines()[1:]]


def _plain(line: str) -> str:
    """A link or address without its number and what changes by itself."""
    return _COUNTERS.sub("", line.partition(": ")[2]).replace("\\", " ")


def _output(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 or command[0] == "sysctl", f"{' '.join(command)}: {done.stderr}"
    return [line.rstrip() for line in done.stdout.splitlines() if line.strip()]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(listing(sys.argv[1:])))
