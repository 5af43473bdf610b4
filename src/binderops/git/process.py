"""How the git program is called: an environment of our own, no prompts, no helpers, only protocols that are named."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from binderops.errors import GitError

# Without ssh: there is no key here that it could use.
ALLOWED_PROTOCOLS = ("http", "https", "git")

# What a network needs to be crossed at all; everything else of our environment is none of git's business.
_KEPT = (
    "PATH", "SSL_CERT_FILE", "GIT_SSL_CAINFO", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
    "no_proxy",
)  # fmt: skip

# Settings on the command line beat those of a hostile repository's .git/config, which may name programs to run.
_SETTINGS = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "credential.helper=",
    # The folder may belong to the user who called sudo; with the settings above that is harmless.
    "safe.directory=*",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=20",
)


def command(*arguments: str, settings: Sequence[str] = ()) -> list[str]:
    """The argument list of one git call, with `settings` of its own (`name=value`) besides those of all."""
    named = [part for setting in (*_SETTINGS, *settings) for part in ("-c", setting)]
    return ["git", *named, *arguments]


def environment(protocols: Iterable[str] = ALLOWED_PROTOCOLS) -> dict[str, str]:
    """The whole environment of a git call."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_ALLOW_PROTOCOL": ":".join(protocols),
    }


def output(folder: Path, *arguments: str, give: bytes = b"", seconds: float) -> bytes:
    """What git prints of a folder; GitError where it fails, with its own words, or does not answer in `seconds`."""
    try:
        done = subprocess.run(
            command("-C", str(folder), *arguments),
            env=environment(),
            input=give,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise GitError(f"git did not answer within {seconds:.0f} s", where=str(folder)) from None
    if done.returncode != 0:
        raise GitError("git failed", where=str(folder), why=done.stderr.decode(errors="replace").strip()[:300])
    return done.stdout


class Said(NamedTuple):
    """How a call ended."""

    status: int
    output: bytes
    complaint: bytes


async def run(
    call: Sequence[str],
    *,
    limits: Sequence[str],
    environment: dict[str, str],
    most: tuple[int, int],
    too_much: Callable[[int], GitError],
) -> Said:
    """One call under prlimit's `limits` that reads at most so many bytes of output and of complaints.

    Whatever ends it early, a cancellation or `too_much(bytes)`, ends git and its helpers: they hold the connection.
    """
    program = await asyncio.create_subprocess_exec(
        "prlimit",
        *limits,
        "--",
        *call,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    try:
        assert program.stdout and program.stderr
        output, complaint = await asyncio.gather(
            _read(program.stdout, most[0], too_much), _read(program.stderr, most[1], too_much)
        )
        return Said(await program.wait(), output, complaint)
    finally:
        if program.returncode is None:
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.killpg(program.pid, signal.SIGKILL)
            await program.wait()


async def _read(stream: asyncio.StreamReader, limit: int, too_much: Callable[[int], GitError]) -> bytes:
    found = bytearray()
    while part := await stream.read(1 << 16):
        found += part
        if len(found) > limit:
            raise too_much(limit)
    return bytes(found)
