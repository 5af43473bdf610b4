"""When each sealed value was last changed: by git, line for line; a value that is not touched keeps its ciphertext."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from binderops.git import process

_DEADLINE_SECONDS = 30


def changed_at(path: Path) -> Mapping[int, datetime]:
    """Line -> when it was committed. Lines that are not committed yet, or a file outside git, are left out."""
    arguments = process.command("-C", str(path.parent), "blame", "--porcelain", "--", path.name)
    try:
        done = subprocess.run(
            arguments,
            env=process.environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DEADLINE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return _parsed(done.stdout) if done.returncode == 0 else {}


def _parsed(porcelain: str) -> dict[int, datetime]:
    times: dict[str, datetime] = {}
    lines: dict[int, str] = {}
    commit = ""
    for line in porcelain.splitlines():
        if header := re.match(r"([0-9a-f]{40,64}) \d+ (\d+)", line):
            commit = header[1]
            lines[int(header[2])] = commit
        elif line.startswith("committer-time "):
            times[commit] = datetime.fromtimestamp(int(line.split()[1]), UTC)
    return {number: times[name] for number, name in lines.items() if name in times and set(name) != {"0"}}
