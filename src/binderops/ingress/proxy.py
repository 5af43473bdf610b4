"""nginx itself: a configuration is tested before it is swapped in, and the last good one stays otherwise."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import structlog

from binderops.errors import ProxyConfigurationError

log = structlog.get_logger(__name__)

_TEST_DEADLINE = 20.0  # seconds; a test of a thousand hosts takes well under one
_QUIT_DEADLINE = 30.0


class Proxy:
    """One nginx, started once and reloaded; `folder` is its own and holds nothing of anybody else."""

    def __init__(self, folder: Path, *, program: str = "nginx") -> None:
        self.folder = folder
        self._program = shutil.which(program) or program
        self._process: asyncio.subprocess.Process | None = None
        self._current = ""
        self.reloads = 0

    @property
    def file(self) -> Path:
        """The configuration in force."""
        return self.folder / "nginx.conf"

    async def apply(self, configuration: str) -> bool:
        """Tests, swaps in, reloads (or starts); False where nothing changed. Raises ProxyConfigurationError."""
        if configuration == self._current and self.running:
            return False
        candidate = self.folder / "candidate.conf"
        write_whole(candidate, configuration)
        await self._test(candidate)
        candidate.replace(self.file)
        self._current = configuration
        if self._process is None:
            await self._start()
        else:
            self._process.send_signal(signal.SIGHUP)
            self.reloads += 1
        return True

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
            await asyncio.wait_for(self._process.wait(), _QUIT_DEADLINE)
        except TimeoutError:
            self._process.terminate()
            await self._process.wait()

    async def _start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            "-c",
            str(self.file),
            "-p",
            str(self.folder),
            "-e",
            "stderr",
            env={"PATH": os.environ["PATH"]},
        )

    async def _test(self, candidate: Path) -> None:
        process = await asyncio.create_subprocess_exec(
            self._program,
            *("-t", "-q", "-c", str(candidate), "-p", str(self.folder), "-e", "stderr"),
            env={"PATH": os.environ["PATH"]},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), _TEST_DEADLINE)
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
