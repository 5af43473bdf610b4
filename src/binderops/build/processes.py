"""A program's output, line by line, as it comes; a program that falls silent for too long is stopped."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from binderops.errors import BuildError

# Compiling one large package may say nothing for long; nothing sensible is silent for longer than this.
SILENCE_SECONDS = 1800.0
# Lines that wait to be told. A program that writes faster waits, instead of filling this process's memory and leaving
# minutes of telling behind.
_WAITING_LINES = 1000


def stream_lines(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    silence_seconds: float = SILENCE_SECONDS,
    files: Sequence[int] = (),
) -> Iterator[str]:
    """Yield the lines of a program's output and errors, each with its newline; it inherits the open `files`.

    Raises subprocess.CalledProcessError when it exits with an error, BuildError when nothing comes for
    `silence_seconds`. Closing the generator stops the program.
    """
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        start_new_session=True,
        pass_fds=files,
    )
    lines: queue.Queue[bytes | None] = queue.Queue(_WAITING_LINES)
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    try:
        while (line := _next(lines, arguments[0], silence_seconds)) is not None:
            yield line.decode(errors="replace")
        code = process.wait(timeout=60)
    finally:
        _stop(process)
    if code != 0:
        raise subprocess.CalledProcessError(code, list(arguments))


def _read(process: subprocess.Popen[bytes], lines: queue.Queue[bytes | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        # Progress bars overwrite themselves by carriage returns: only their last state is worth a line.
        lines.put(line.rstrip(b"\r\n").rpartition(b"\r")[2] + b"\n")
    lines.put(None)


def _next(lines: queue.Queue[bytes | None], program: str, silence_seconds: float) -> bytes | None:
    try:
        return lines.get(timeout=silence_seconds)
    except queue.Empty:
        raise BuildError(
            f"{program} was stopped", why=f"it said nothing for {silence_seconds / 60:.0f} minutes"
        ) from None


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
