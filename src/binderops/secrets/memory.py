"""A folder in memory for the time of an edit, which does not outlive the program, however that ends.

A guard, a process of its own, waits until the program is gone (its end of a pipe closes, also after SIGKILL); it then
seals what the editor had saved into a draft beside the file, and removes the folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from binderops.errors import MachineError
from binderops.secrets import sops
from binderops.secrets.values import ClearText
from binderops.secrets.writing import write_whole

_PREFIX = "binderops-edit-"
_GUARD_SECONDS = 90


@contextmanager
def memory_folder(*, edited: str, draft: Path, recipients: Sequence[str]) -> Iterator[Path]:
    """A folder of mode 0700 in memory; `edited` is the name, in it, of the text that must not be lost."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_memory()))
    guard = subprocess.Popen(
        [sys.executable, "-m", "binderops.secrets.memory", str(folder), edited, str(draft), ",".join(recipients)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the editor
    )
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if guard.stdin is not None:
            guard.stdin.close()
        guard.wait(timeout=_GUARD_SECONDS)


def keep_draft(text: Path, draft: Path, recipients: Sequence[str]) -> None:
    """Seals an edited text that could not be taken, for the readers of the file, as binary: it may be no YAML."""
    content = sops.encrypt(ClearText(text.read_bytes()), name=draft.name, recipients=recipients)
    write_whole(draft, content)


def guard(folder: Path, edited: str, draft: Path, recipients: Sequence[str]) -> None:
    """Waits for the end of standard input; then keeps what was edited, and removes the folder."""
    sys.stdin.buffer.read()
    try:
        text = folder / edited
        if text.is_file() and recipients:
            keep_draft(text, draft, recipients)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path:
    for folder in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):
        if (
            folder
            and Path(folder).is_dir()
            and os.access(folder, os.W_OK)
            and _kind(Path(folder)) in {"tmpfs", "ramfs"}
        ):
            return Path(folder)
    raise MachineError(
        "there is no storage in memory to edit in",
        why="neither $XDG_RUNTIME_DIR nor /dev/shm is a tmpfs that may be written",
        hint="binderops secrets set takes a value from standard input",
    )


def _kind(folder: Path) -> str:
    best = ("", "")
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount, kind, *_ = line.split(" ")
        if str(folder.resolve()).startswith(mount) and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


if __name__ == "__main__":
    guard(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), [one for one in sys.argv[4].split(",") if one])
