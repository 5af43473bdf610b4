"""Limits of the kernel that are kept by user, given to each user namespace (namespaces(7), /proc/sys/user).

A user namespace has none of its own when it is made, and what is made in it counts for its maker too: root of this
machine. Without them one container's processes could take every inotify instance of the machine's own services.
An OCI hook sets them: before a first instruction of the container, whichever runtime it has.
"""

from __future__ import annotations

import json
from pathlib import Path

OWN_USERS = "binderops.dev/user-namespace"
"""The annotation of containers that have a user namespace of their own."""

NAMESPACES, INSTANCES, WATCHES = 1024, 128, 65536
"""For each user namespace: namespaces of every kind; inotify instances and watches, and fanotify's groups and marks."""

_SYSTEM_HOOKS = Path("/usr/share/containers/oci/hooks.d")
_SCRIPT = f"""\
#!/bin/sh
# Standard input is the container's state (OCI runtime specification, "State"). What fails keeps it from starting.
state=$(cat)
pid=${{state##*\\"pid\\":}}
pid=${{pid# }}
pid=${{pid%%[!0-9]*}}
# The pipes of its output belong to root of the machine: a script inside could not open /dev/stderr.
if [ -p "/proc/$pid/fd/1" ] && [ -p "/proc/$pid/fd/2" ]; then chmod a+w "/proc/$pid/fd/1" "/proc/$pid/fd/2"; fi
exec nsenter --user --target "$pid" /bin/sh -ec '
cd /proc/sys/user
for limit in *_namespaces; do echo {NAMESPACES} > "$limit"; done
for limit in max_inotify_instances max_fanotify_groups; do [ ! -e "$limit" ] || echo {INSTANCES} > "$limit"; done
for limit in max_inotify_watches max_fanotify_marks; do [ ! -e "$limit" ] || echo {WATCHES} > "$limit"; done
'
"""


def hook_folders(configuration: Path) -> list[str]:
    """The engine's `hooks_dir`: ours, after the machine's own (a GPU's, say) where it has any."""
    return [*([str(_SYSTEM_HOOKS)] if _SYSTEM_HOOKS.is_dir() else []), str(configuration / "hooks")]


def write_hooks(configuration: Path) -> None:
    """Render the hook. A running engine reads it for each container that it makes."""
    folder = configuration / "hooks"
    folder.mkdir(mode=0o700, exist_ok=True)
    program = configuration / "limit-users"
    hook = {
        "version": "1.0.0",
        "hook": {"path": str(program), "timeout": 10},
        "when": {"annotations": {f"^{OWN_USERS}$": "^own$"}},
        "stages": ["createRuntime"],
    }
    for path, text in ((program, _SCRIPT), (folder / "limit-users.json", json.dumps(hook) + "\n")):
        write_program(path, text)


def write_program(path: Path, text: str) -> None:
    """Write a file that a runtime may be starting now. What is there already is not written: a disk may be full."""
    if path.exists() and path.read_text() == text:
        return
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o700)
    new.replace(path)
