"""The OCI runtime of RUN steps: adds variables and one read-only mount to a container, then becomes runc.

Run as a script by the wrapper that `machine` writes, without site packages: standard library only, a few milliseconds.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def add_to(configuration: dict[str, Any], settings: dict[str, Any]) -> None:
    """Change an OCI runtime configuration in place; a variable that the image sets itself keeps its value."""
    environment = configuration["process"].setdefault("env", [])
    there = {entry.partition("=")[0] for entry in environment}
    environment += [f"{name}={value}" for name, value in settings["env"].items() if name not in there]
    configuration.setdefault("mounts", []).append(
        {
            "destination": settings["target"],
            "type": "bind",
            "source": settings["source"],
            "options": ["bind", "ro", "nosuid", "nodev", "rprivate"],
        }
    )


def main(arguments: list[str]) -> None:
    """`runtime.py SETTINGS RUNC-ARGUMENTS…`."""
    settings, *passed = arguments
    bundle = Path(_bundle(passed)) / "config.json"
    configuration = json.loads(bundle.read_text())
    add_to(configuration, json.loads(Path(settings).read_text()))
    bundle.write_text(json.dumps(configuration))
    os.execvp("runc", ["runc", *passed])  # noqa: S606


def _bundle(arguments: list[str]) -> str:
    for number, argument in enumerate(arguments):
        if argument in {"--bundle", "-b"}:
            return arguments[number + 1]
        if argument.startswith("--bundle="):
            return argument.partition("=")[2]
    return "."


if __name__ == "__main__":
    main(sys.argv[1:])
