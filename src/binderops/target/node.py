"""This machine as a target: starts and stops the node's own program, and asks nothing of it but its API."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binderops.errors import TargetError
from binderops.kube.client import Client
from binderops.target.machine import examine_machine
from binderops.target.protocol import Access, Ensured, Health, Report

_START_DEADLINE = 60.0  # seconds; a ready node takes about two
_STOP_DEADLINE = 120.0


@dataclass(frozen=True)
class NodeTarget:
    """A node by its settings in binderops.yaml; `state` is the machine's state folder, `run` that of its sockets."""

    name: str
    api_port: int
    host_addresses: tuple[str, ...]
    state: Path
    run: Path
    machine: dict[str, Any]
    pod_range: str | None = None
    service_range: str | None = None

    @property
    def folder(self) -> Path:
        """STATE/nodes/NAME."""
        return self.state / "nodes" / self.name

    async def examine(self, *, ports: tuple[int, ...], report: Report) -> str:
        """Refuses a machine that cannot be a node, and ports that somebody else holds."""
        report("looking at the machine")
        wanted: list[tuple[str, int]] = []
        if not (await self.health()).running:
            wanted.append(("127.0.0.1", self.api_port))
            if not self._forwarder_lives():
                wanted += [(address, port) for address in self.host_addresses for port in ports]
        present = (self.state / "images" / "images.lock.yaml").exists()
        return await asyncio.to_thread(examine_machine, self.state, ports=wanted, images_present=present)

    async def ensure(self, *, report: Report) -> Ensured:
        """Starts the node where it does not answer, and waits until it does."""
        started_at = time.monotonic()
        address = f"127.0.0.1:{self.api_port}"
        if (await self.health()).running:
            return Ensured(f"ready on {address}", started=False, seconds=time.monotonic() - started_at)
        report(f"starting on {address}")
        process = self._spawn()
        await self._until_ready(process, report)
        seconds = time.monotonic() - started_at
        return Ensured(f"ready on {address} in {seconds:.1f} s", started=True, seconds=seconds)

    def facts(self) -> dict[str, Any]:
        """What was found out about this machine, as `global.machine`."""
        return self.machine

    def access(self) -> Access:
        """The admin kubeconfig that the node wrote."""
        path = self.folder / "kubeconfig"
        if not path.exists():
            raise TargetError(f"node {self.name} was never started", where=str(path), hint="binderops up")
        return Access(path)

    async def health(self) -> Health:
        """Asks /readyz."""
        if not (self.folder / "kubeconfig").exists():
            return Health(running=False, summary="never started", made=False)
        try:
            async with asyncio.timeout(5), Client.from_kubeconfig(self.folder / "kubeconfig") as client:
                version = await client.request("GET", "/version")
        except Exception as error:
            return Health(running=False, summary=f"does not answer ({type(error).__name__})")
        details: dict[str, Any] = {"pid": self._pid(), "version": str(version.get("gitVersion", ""))}
        return Health(running=True, summary=f"ready on 127.0.0.1:{self.api_port}", details=details)

    async def stop(self, *, report: Report) -> None:
        """Stops the node's process, its pods and its network; every file stays."""
        report("stopping pods and network")
        await self._end_process()
        if not (self.folder / "node.yaml").exists():
            return
        command = [*self._program("stop"), "--state", str(self.state), "--name", self.name]
        process = await asyncio.create_subprocess_exec(
            *command, env=self._environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(_STOP_DEADLINE):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            raise TargetError(
                f"node {self.name} did not stop within {_STOP_DEADLINE:.0f} s",
                where=str(self._log),
                hint="run it again",
            ) from None
        if process.returncode != 0:
            raise TargetError(
                f"node {self.name} did not stop cleanly",
                where=str(self._log),
                why=" / ".join(output.decode(errors="replace").strip().splitlines()[-3:]),
            )

    async def remove(self, *, report: Report) -> list[str]:
        """Stops, then removes the node's folders."""
        await self.stop(report=report)
        report("removing files")
        await asyncio.to_thread(shutil.rmtree, self.folder, True)
        await asyncio.to_thread(shutil.rmtree, self.run / self.name, True)
        with contextlib.suppress(OSError):  # other nodes' are in it
            self.run.rmdir()
        return [f"{self.folder}: could not be removed"] if self.folder.exists() else []

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        (self.run / self.name).mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [
            *self._program(),
            *("--state", str(self.state), "--name", self.name, "--api-port", str(self.api_port)),
            *(part for address in self.host_addresses for part in ("--host-address", address)),
            *(("--pod-range", self.pod_range) if self.pod_range else ()),
            *(("--service-range", self.service_range) if self.service_range else ()),
        ]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._pid_file.write_text(f"{process.pid}\n", encoding="ascii")
        return process

    async def _until_ready(self, process: subprocess.Popen[bytes], report: Report) -> None:
        deadline = time.monotonic() + _START_DEADLINE
        while not (await self.health()).running:
            if process.poll() is not None:
                raise TargetError(
                    f"node {self.name} ended as it started (exit {process.returncode})",
                    where=str(self._log),
                    why=self._log_tail(),
                )
            if time.monotonic() > deadline:
                raise TargetError(
                    f"node {self.name} was not ready within {_START_DEADLINE:.0f} s",
                    where=str(self._log),
                    why=self._log_tail(),
                )
            report("waiting for its API")
            await asyncio.sleep(0.1)

    async def _end_process(self) -> None:
        pid = self._pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while self._pid() is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                break
            await asyncio.sleep(0.05)
        self._pid_file.unlink(missing_ok=True)

    def _pid(self) -> int | None:
        """The node's process, if the pid file's process still is one: a pid may have been given to somebody else."""
        try:
            pid = int(self._pid_file.read_text(encoding="ascii"))
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            state = (
                Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
            )
        except (OSError, ValueError):
            return None
        mine = b"binderops.node" in command and self.name.encode() in command and state != "Z"
        return pid if mine else None

    def _forwarder_lives(self) -> bool:
        """The loopback forwarder outlives the node's process, and then it is what holds the public ports."""
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = entry.read_bytes()
            except OSError:
                continue
            if b"node/network/forwarder.py" in command and str(self.run / self.name).encode() in command:
                return True
        return False

    def _program(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "binderops.node", *arguments]

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "HELM", "PYTEST"))}
        return kept | {"BINDEROPS_RUN": str(self.run), "PYTHONUNBUFFERED": "1"}

    @property
    def _log(self) -> Path:
        return self.folder / "logs" / "node.log"

    @property
    def _pid_file(self) -> Path:
        return self.run / self.name / "node.pid"

    def _log_tail(self) -> str:
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return "no log"
        return "\n".join(lines[-8:])
