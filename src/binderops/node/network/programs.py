"""The door to iproute2, nft and the other programs that shape the kernel's network.

`ip -batch` and `nft -f -` take a whole change in one process (3 to 10 ms), and the latter applies it as one
transaction. All functions block: callers on the event loop go through `asyncio.to_thread` or `in_namespace`.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from binderops.errors import NetworkError

PROGRAM_SECONDS = 20.0
"""No such program talks to anything but the kernel: one that takes longer hangs."""

_CLONE_NEWNET = 0x40000000
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

T = TypeVar("T")


def run_program(argv: Sequence[str], *, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. NetworkError when it is missing, hangs, or (with `check`) fails."""
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PROGRAM_SECONDS,
            env=_ENVIRONMENT,
            check=False,
        )
    except FileNotFoundError:
        raise NetworkError(
            f"{argv[0]} is missing", why="the node's network is made with it", hint="install iproute2 and nftables"
        ) from None
    except subprocess.TimeoutExpired:
        raise NetworkError(f"{argv[0]} did not end within {PROGRAM_SECONDS:.0f} s", where=" ".join(argv)) from None
    if check and done.returncode != 0:
        raise NetworkError(
            f"{argv[0]} failed", where=" ".join(argv), why=done.stderr.strip()[-2000:] or f"exit code {done.returncode}"
        )
    return done


def ip_batch(commands: Iterable[str], *, force: bool = False) -> None:
    """Run iproute2 commands, one a line, in one process; with `force`, go on after one that fails, and say nothing."""
    lines = "\n".join(commands) + "\n"
    argv = ["ip", *(["-force"] if force else []), "-batch", "-"]
    run_program(argv, stdin=lines, check=not force)


def ip_json(*arguments: str) -> list[dict[str, Any]]:
    """What `ip -json …` prints; an empty list where the object does not exist."""
    done = run_program(["ip", "-json", "-details", *arguments], check=False)
    text = done.stdout.strip()
    found: list[dict[str, Any]] = json.loads(text) if done.returncode == 0 and text else []
    return [entry for entry in found if entry]


def nft(script: str) -> None:
    """Apply an nftables script as one transaction: all of it or, with NetworkError, nothing."""
    run_program(["nft", "-f", "-"], stdin=script)


def missing(program: str) -> bool:
    """Whether a program is not on this machine."""
    return not any((Path(folder) / program).exists() for folder in _ENVIRONMENT["PATH"].split(":"))


def run_in_namespace(path: Path, work: Callable[[], T]) -> Future[T]:
    """Run `work` in a thread of its own that has entered the network namespace at `path`.

    The thread ends afterwards: a pooled one would carry the namespace into other people's work. Programs that `work`
    starts, and /proc/sys/net as it sees it, belong to that namespace.
    """
    future: Future[T] = Future()

    def body() -> None:
        try:
            enter_namespace(path)
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=body, name=f"netns-{path.name}", daemon=True).start()
    return future


async def in_namespace(path: Path, work: Callable[[], T]) -> T:
    """As `run_in_namespace`, awaited."""
    return await asyncio.wrap_future(run_in_namespace(path, work))


def enter_namespace(path: Path) -> None:
    """Move the calling thread into a network namespace (os.setns comes with Python 3.12)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NetworkError("a network namespace is gone", where=str(path)) from None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise NetworkError("a network namespace cannot be entered", where=str(path), why=os.strerror(number))
    finally:
        os.close(descriptor)
