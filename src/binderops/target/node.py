"""This machine as a target: starts and stops the node's own program, and asks nothing of it but its API."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from binderops.errors import TargetError
from binderops.kube.client import Client
from binderops.podman.trees import remove_tree
from binderops.target.machine import examine_machine
from binderops.target.program import NodeProgram
from binderops.target.protocol import Access, Ensured, Health, Report
from binderops.target.supervising import Supervisor, supervisor_of

_ROOT_ONLY = "needs root to be asked (sudo)"
_STAYS = "stays: "  # what `node stop` begins a line with, of things that others' programs keep
_START_DEADLINE = 60.0  # seconds; a ready node takes about two
_STOP_DEADLINE = 120.0
_END_DEADLINE = 20.0  # seconds from SIGTERM to SIGKILL: nothing acknowledged is lost by it


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
    image_budget: str | None = None
    supervise: Callable[[NodeProgram], Supervisor] = field(default=supervisor_of, repr=False)

    @property
    def folder(self) -> Path:
        """STATE/nodes/NAME."""
        return self.program.folder

    @property
    def program(self) -> NodeProgram:
        """The node's own program, with these settings."""
        return NodeProgram(
            name=self.name,
            state=self.state,
            run=self.run,
            api_port=self.api_port,
            host_addresses=self.host_addresses,
            pod_range=self.pod_range,
            service_range=self.service_range,
            image_budget=self.image_budget,
        )

    async def examine(self, *, ports: tuple[int, ...], report: Report) -> str:
        """Refuses a machine that cannot be a node, and ports that somebody else holds."""
        report("looking at the machine")
        wanted = [("127.0.0.1", self.api_port), *((address, port) for address in self.host_addresses for port in ports)]
        present = (self.state / "images" / "images.lock.yaml").exists()
        own = frozenset(pid for pid in (self._pid(), self._forwarder()) if pid is not None)
        return await asyncio.to_thread(examine_machine, self.state, ports=wanted, own=own, images_present=present)

    async def ensure(self, *, report: Report) -> Ensured:
        """Starts the node where it does not run, and waits until it is ready.

        One that runs is started again when its program or its settings changed since; its pods run on meanwhile.
        """
        started_at = time.monotonic()
        address = f"127.0.0.1:{self.api_port}"
        runs = (await self.health()).running
        supervisor = self.supervise(self.program)
        if runs and self.program.is_current():
            await asyncio.to_thread(supervisor.keep)
            return Ensured(f"ready on {address}", started=False, seconds=time.monotonic() - started_at)
        report("starting again: its program changed" if runs else f"starting on {address}")
        await asyncio.to_thread(supervisor.halt)
        await self._end_process()
        await asyncio.to_thread(self.program.make_folders)
        await asyncio.to_thread(supervisor.start)
        await self._until_ready(supervisor, report)
        seconds = time.monotonic() - started_at
        why = ", started again: its program changed" if runs else ""
        return Ensured(f"ready on {address} in {seconds:.1f} s{why}", started=True, seconds=seconds)

    def facts(self) -> dict[str, Any]:
        """What was found out about this machine, as `global.machine`."""
        return self.machine

    def access(self) -> Access:
        """The admin kubeconfig that the node wrote."""
        path = self.folder / "kubeconfig"
        if not path.exists():
            state = "is stopped" if (self.folder / "node.yaml").exists() else "was never started"
            raise TargetError(f"node {self.name} {state}", where=str(path), hint="binderops up")
        return Access(path)

    async def health(self) -> Health:
        """Asks /readyz."""
        try:
            answers, made = (self.folder / "kubeconfig").exists(), (self.folder / "node.yaml").exists()
        except PermissionError:
            return Health(running=False, summary=_ROOT_ONLY)
        if not answers:
            # A node that is stopped, or that starts, has none.
            summary = "stopped, its data kept" if made else "never started"
            return Health(running=False, summary=summary, made=made)
        if not os.access(self.folder / "kubeconfig", os.R_OK):
            return Health(running=False, summary=_ROOT_ONLY)
        try:
            async with asyncio.timeout(5), Client.from_kubeconfig(self.folder / "kubeconfig") as client:
                version = await client.request("GET", "/version")
        except Exception as error:
            return Health(running=False, summary=f"does not answer ({type(error).__name__})")
        details: dict[str, Any] = {"pid": self._pid(), "version": str(version.get("gitVersion", ""))}
        return Health(running=True, summary=f"ready on 127.0.0.1:{self.api_port}", details=details)

    async def stop(self, *, report: Report) -> None:
        """Stops the node's process, its pods and its network; every file stays."""
        await self._stop(report)

    async def remove(self, *, report: Report) -> list[str]:
        """Stops, then removes the node's folders; returns what stays."""
        stays = await self._stop(report)
        report("removing files")
        await asyncio.to_thread(self.supervise(self.program).forget)
        await asyncio.to_thread(remove_tree, self.folder, ignore_errors=True)
        await asyncio.to_thread(shutil.rmtree, self.run / self.name, True)
        with contextlib.suppress(OSError):  # other nodes' are in it
            self.run.rmdir()
        return [*stays, *([f"{self.folder}: could not be removed"] if self.folder.exists() else [])]

    async def _stop(self, report: Report) -> list[str]:
        report("stopping pods and network")
        await asyncio.to_thread(self.supervise(self.program).stop)
        await self._end_process()
        if not (self.folder / "node.yaml").exists():
            return []
        process = await asyncio.create_subprocess_exec(
            *self.program.stop_command,
            env=self.program.environment(),
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes to us; we say what becomes of it
        )
        output = await self._output_of(process)
        if process.returncode != 0:
            raise TargetError(
                f"node {self.name} did not stop cleanly",
                where=str(self.program.log),
                why=" / ".join(output.decode(errors="replace").strip().splitlines()[-3:]),
            )
        lines = output.decode(errors="replace").splitlines()
        return [line.removeprefix(_STAYS) for line in lines if line.startswith(_STAYS)]

    async def _output_of(self, process: asyncio.subprocess.Process) -> bytes:
        """What a stop says until it ends. It never outlives us: interrupted, it is ended, and the next one goes on."""
        try:
            async with asyncio.timeout(_STOP_DEADLINE):
                output, _ = await process.communicate()
        except TimeoutError:
            raise TargetError(
                f"node {self.name} did not stop within {_STOP_DEADLINE:.0f} s",
                where=str(self.program.log),
                hint="run it again",
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return output

    async def _until_ready(self, supervisor: Supervisor, report: Report) -> None:
        deadline = time.monotonic() + _START_DEADLINE
        while not (await self.health()).running:
            how = await asyncio.to_thread(supervisor.ended)
            late = time.monotonic() > deadline
            if how is None and not late:
                report("waiting for its API and its pods")
                await asyncio.sleep(0.1)
                continue
            if how is not None:
                await asyncio.to_thread(supervisor.stop)
            what = f"ended as it started ({how})" if how else f"was not ready within {_START_DEADLINE:.0f} s"
            raise TargetError(f"node {self.name} {what}", where=str(self.program.log), why=self.program.log_tail())

    async def _end_process(self) -> None:
        pid = self._pid()
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _END_DEADLINE
        while self._pid() is not None:
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
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

    def _forwarder(self) -> int | None:
        """The loopback forwarder outlives the node's process: it holds the public ports meanwhile."""
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = entry.read_bytes()
            except OSError:
                continue
            if b"node/network/forwarder.py" in command and str(self.run / self.name).encode() in command:
                return int(entry.parent.name)
        return None

    @property
    def _pid_file(self) -> Path:
        return self.run / self.name / "node.pid"
