"""Podman's API service as a process of its own: started, found again, ended. It outlives whoever started it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

from binderops.errors import EngineError
from binderops.podman.client import Podman
from binderops.podman.mounts import entering, pin_namespace, release_namespace, share
from binderops.podman.settings import EngineSettings

START_DEADLINE = 20.0
STOP_DEADLINE = 10.0


async def start_service(settings: EngineSettings) -> int:
    """Start the service unless it runs and answers; returns its process id. EngineError with its log if it does not.

    A service that runs but does not answer, or was started with other settings (an image store that was not there
    yet), is ended first. Containers are conmon's: they outlive all of this.
    """
    changed = await asyncio.to_thread(settings.write)
    pid = find_service(settings)
    if pid is not None:
        if not changed and await _answers(settings.socket, within=5.0):
            return pid
        await stop_service(settings)
    for folder in settings.shared_folders:
        await share(folder)
    await pin_namespace(settings.namespace, hosts=settings.hosts)
    settings.socket.unlink(missing_ok=True)
    process = await asyncio.to_thread(_spawn, settings)
    if not await _answers(settings.socket, within=START_DEADLINE, process=process):
        process.kill()
        raise EngineError(
            f"Podman's service did not answer within {START_DEADLINE:g} s",
            where=str(settings.socket),
            why=_tail(settings.log),
            hint=f"look into {settings.log}",
        )
    return process.pid


def find_service(settings: EngineSettings) -> int | None:
    """The process id of the running service, or None. A recycled process id is recognised by its arguments."""
    try:
        pid = int(settings.pid_file.read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if f"unix://{settings.socket}".encode() in arguments else None


async def stop_service(settings: EngineSettings, *, release: bool = False) -> None:
    """End the service, by SIGTERM, then SIGKILL; containers run on. `release` gives up its mount namespace too."""
    pid = find_service(settings)
    if pid is not None:
        _signal(pid, signal.SIGTERM)
        if not await _ended(settings, within=STOP_DEADLINE):
            _signal(pid, signal.SIGKILL)
            await _ended(settings, within=STOP_DEADLINE)
    settings.pid_file.unlink(missing_ok=True)
    settings.socket.unlink(missing_ok=True)
    if release:
        await release_namespace(settings.namespace)


def command(settings: EngineSettings, *arguments: str) -> list[str]:
    """The words of a `podman` program that works on the same engine (give it `settings.environment()`)."""
    return [*entering(settings.namespace), str(settings.program), *arguments]


def _spawn(settings: EngineSettings) -> subprocess.Popen[bytes]:
    with settings.log.open("ab") as log:
        # nsenter executes podman in its own place, so its process id is podman's.
        process = subprocess.Popen(
            command(settings, "system", "service", "--time", "0", f"unix://{settings.socket}"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=settings.environment(),
            cwd="/",
            start_new_session=True,
        )
    settings.pid_file.write_text(str(process.pid))
    return process


async def _answers(socket: Path, *, within: float, process: subprocess.Popen[bytes] | None = None) -> bool:
    deadline = asyncio.get_running_loop().time() + within
    async with Podman(socket) as podman:
        while asyncio.get_running_loop().time() < deadline:
            try:
                await podman.ping()
                return True
            except EngineError:
                if process is not None and process.poll() is not None:
                    return False
                await asyncio.sleep(0.02)
    return False


async def _ended(settings: EngineSettings, *, within: float) -> bool:
    deadline = asyncio.get_running_loop().time() + within
    while asyncio.get_running_loop().time() < deadline:
        if find_service(settings) is None:
            return True
        await asyncio.sleep(0.02)
    return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _tail(path: Path, *, size: int = 2000) -> str:
    try:
        return path.read_bytes()[-size:].decode(errors="replace").strip()
    except OSError:
        return ""
