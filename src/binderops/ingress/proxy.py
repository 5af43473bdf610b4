"""nginx itself: a configuration is tested before it is swapped in, and the last good one stays otherwise.

A reload is a signal, which nginx answers in its log alone; so each configuration names itself (`/generation` of the
health port), and a reload counts when nginx answers with the new name and no old worker takes connections any more:
for 100 ms both do.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import httpx2
import structlog

from binderops.errors import ProxyConfigurationError
from binderops.ingress.configuration import GENERATION

log = structlog.get_logger(__name__)

_TEST_DEADLINE = 20.0  # seconds; a test of a thousand hosts takes well under one
_QUIT_DEADLINE = 30.0
_RELOAD_DEADLINE = 20.0
_ASK_EVERY = 0.02


class Proxy:
    """One nginx, started once and reloaded; `folder` is its own and holds nothing of anybody else."""

    def __init__(self, folder: Path, *, health_port: int, program: str = "nginx") -> None:
        self.folder = folder
        self._generation = f"http://127.0.0.1:{health_port}/generation"
        self._program = shutil.which(program) or program
        self._process: asyncio.subprocess.Process | None = None
        self._current = ""
        self.reloads = 0

    @property
    def file(self) -> Path:
        """The configuration in force."""
        return self.folder / "nginx.conf"

    async def apply(self, configuration: str) -> bool:
        """Tests, swaps in, reloads (or starts) and waits until it is in force; False where nothing changed.

        Raises ProxyConfigurationError where nginx refuses it, at the test or later: the one before stays.
        """
        if configuration == self._current and self.running:
            return False
        generation = hashlib.sha256(configuration.encode()).hexdigest()[:16]
        text = configuration.replace(GENERATION, generation)
        await self.test(text)
        before = self.file.read_text(encoding="utf-8") if self.running else None
        write_whole(self.folder / "next.conf", text)
        (self.folder / "next.conf").replace(self.file)
        try:
            await self._take_over(generation)
        except ProxyConfigurationError:
            if before is not None:
                write_whole(self.file, before)
            raise
        self._current = configuration
        return True

    async def test(self, configuration: str) -> None:
        """Raises ProxyConfigurationError where nginx would refuse this configuration."""
        candidate = self.folder / "candidate.conf"
        write_whole(candidate, configuration)
        await self._test(candidate)

    @property
    def running(self) -> bool:
        """Whether nginx's master process lives."""
        return self._process is not None and self._process.returncode is None

    async def wait(self) -> int:
        """Returns nginx's exit code when it ends."""
        if self._process is None:
            raise ProxyConfigurationError("nginx was never started", where=str(self.file))
        return await self._process.wait()

    async def stop(self) -> None:
        """Lets open requests end, then stops; after a deadline at once."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGQUIT)
        try:
            async with asyncio.timeout(_QUIT_DEADLINE):
                await self._process.wait()
        except TimeoutError:
            self._process.terminate()
            await self._process.wait()

    async def _take_over(self, generation: str) -> None:
        before = self._accepting()
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                self._program,
                *("-c", str(self.file), "-p", str(self.folder), "-e", "stderr"),
                env={"PATH": os.environ["PATH"]},
            )
        else:
            self._process.send_signal(signal.SIGHUP)
            self.reloads += 1
        try:
            # No connection is kept: it would go on asking the worker that answered first.
            limits = httpx2.Limits(max_keepalive_connections=0)
            async with (
                asyncio.timeout(_RELOAD_DEADLINE),
                httpx2.AsyncClient(trust_env=False, verify=False, timeout=2, limits=limits) as client,
            ):
                while before & self._accepting() or not await self._answers(client, generation):
                    await asyncio.sleep(_ASK_EVERY)
        except TimeoutError:
            raise ProxyConfigurationError(
                f"nginx did not take the new configuration over within {_RELOAD_DEADLINE:.0f} s",
                where=str(self.file),
                why="its own messages stand above",
            ) from None

    def _accepting(self) -> set[str]:
        """The workers that take new connections: an old one says in its title that it is shutting down."""
        if not self.running or self._process is None:
            return set()
        found = set()
        with suppress(OSError):  # a process may end while it is looked at
            for pid in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split():
                with suppress(OSError):
                    if "shutting down" not in Path(f"/proc/{pid}/cmdline").read_text():
                        found.add(pid)
        return found

    async def _answers(self, client: httpx2.AsyncClient, generation: str) -> bool:
        if not self.running:
            raise ProxyConfigurationError("nginx ended", where=str(self.file), why="its own messages stand above")
        try:
            return (await client.get(self._generation)).text == generation
        except httpx2.TransportError:
            return False

    async def _test(self, candidate: Path) -> None:
        process = await asyncio.create_subprocess_exec(
            self._program,
            *("-t", "-q", "-c", str(candidate), "-p", str(self.folder), "-e", "stderr"),
            env={"PATH": os.environ["PATH"]},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_TEST_DEADLINE):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise ProxyConfigurationError(
                f"nginx did not test within {_TEST_DEADLINE:.0f} s", where=str(candidate)
            ) from None
        if process.returncode != 0:
            raise ProxyConfigurationError(
                "nginx does not accept the new configuration; the last good one stays",
                where=str(candidate),
                why=output.decode(errors="replace").strip(),
            )


def write_whole(path: Path, text: str) -> None:
    """Writes a file durably, readable by its owner only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
