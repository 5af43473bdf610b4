"""Containers, and the processes run inside them, by libpod's API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from binderops.errors import EngineNotFoundError
from binderops.podman.streams import RawStream
from binderops.podman.transport import Transport
from binderops.podman.unknown import end_unknown, held_in


class Containers:
    """`podman.containers`: `name` is a name or an id. Times are in seconds."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, specification: dict[str, Any], *, deadline: float = 60.0) -> str:
        """Create a container from a libpod SpecGenerator; returns its id."""
        doing = f"create container {specification.get('name', '')}"
        response = await self._transport.request(
            "POST", "/containers/create", body=specification, doing=doing, deadline=deadline
        )
        return str(response.json()["Id"])

    async def start(self, name: str, *, deadline: float = 60.0) -> None:
        """Start it; no error if it runs."""
        await self._post(name, "start", deadline=deadline)

    async def stop(self, name: str, *, timeout: int) -> None:
        """Send the stop signal, wait `timeout` s, then kill; returns when it has ended."""
        await self._post(name, "stop", params={"timeout": str(timeout)}, deadline=timeout + 30.0)

    async def kill(self, name: str, *, signal: str) -> None:
        """Send a signal to the container's first process."""
        await self._post(name, "kill", params={"signal": signal})

    async def remove(self, name: str, *, force: bool = False, timeout: int = 0) -> None:
        """Remove it (with `force`, kill it first, after `timeout` s of grace); no error if it is gone."""
        params = {"force": str(force).lower(), "v": "true", "timeout": str(timeout)}
        try:
            response = await self._transport.request(
                "DELETE", _path(name), params=params, doing=f"remove container {name}", deadline=timeout + 60.0
            )
        except EngineNotFoundError:
            await end_unknown(name)
            return
        for removed in response.json() or ():
            await end_unknown(str(removed.get("Id")))

    async def end_unknown(self, storage: Path) -> list[str]:
        """End what runs of this engine's containers (those of `storage`) that it does not know; returns their ids.

        `remove` does so for the one that it removes, unless its caller is killed in between. All are tried; EngineError
        if one could not be ended.
        """
        # Looked at first, and the engine's list after it: what is made meanwhile is in the list.
        held = await asyncio.to_thread(held_in, storage)
        unknown = sorted(held - {str(found["Id"]) for found in await self.list_all()}) if held else []
        results = await asyncio.gather(*(end_unknown(identity) for identity in unknown), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return unknown

    async def inspect(self, name: str) -> dict[str, Any]:
        """What `podman inspect` shows."""
        response = await self._transport.request("GET", _path(name, "json"), doing=f"inspect container {name}")
        found: dict[str, Any] = response.json()
        return found

    async def list_all(self, *, labels: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """All containers, running or not, that carry every one of `labels` ("key" or "key=value")."""
        filters = json.dumps({"label": list(labels)} if labels else {})
        response = await self._transport.request(
            "GET", "/containers/json", params={"all": "true", "filters": filters}, doing="list containers"
        )
        found: list[dict[str, Any]] = response.json() or []
        return found

    async def wait(self, name: str, *, condition: str = "stopped", deadline: float) -> int:
        """Wait for a condition; returns the exit code."""
        response = await self._transport.request(
            "POST",
            _path(name, "wait"),
            params={"condition": condition},
            doing=f"wait for container {name}",
            deadline=deadline,
        )
        return int(response.text)

    async def stats(self, name: str) -> dict[str, Any]:
        """One reading of what it uses."""
        response = await self._transport.request(
            "GET",
            "/containers/stats",
            params={"containers": name, "stream": "false"},
            doing=f"read statistics of {name}",
        )
        readings = response.json().get("Stats") or [{}]
        reading: dict[str, Any] = readings[0]
        return reading

    async def logs(self, name: str, *, tail: str = "all") -> AsyncIterator[bytes]:
        """What the container wrote to standard output and error, in order."""
        params = {"stdout": "true", "stderr": "true", "tail": tail}
        async with self._transport.stream(
            "GET", _path(name, "logs"), params=params, doing=f"read the log of {name}"
        ) as response:
            pending = b""
            async for piece in response.aiter_bytes():
                pending += piece
                while len(pending) >= 8 and len(pending) >= 8 + (size := int.from_bytes(pending[4:8], "big")):
                    yield pending[8 : 8 + size]
                    pending = pending[8 + size :]

    async def attach(self, name: str, *, stdin: bool, terminal: bool) -> RawStream:
        """Connect to the first process' streams."""
        query = f"?stream=true&stdout=true&stderr=true&stdin={str(stdin).lower()}"
        reader, writer = await self._transport.hijack(_path(name, "attach") + query, doing=f"attach to {name}")
        return RawStream(reader, writer, terminal=terminal)

    async def resize(self, name: str, *, width: int, height: int) -> None:
        """Set the size of the container's terminal."""
        await self._post(name, "resize", params={"w": str(width), "h": str(height)})

    async def exec_create(
        self, name: str, command: list[str], *, stdin: bool = False, terminal: bool = False, user: str = ""
    ) -> str:
        """Prepare a process inside a running container; returns the id of the exec session."""
        body = {
            "AttachStdin": stdin,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": terminal,
            "Cmd": command,
            **({"User": user} if user else {}),
        }
        response = await self._transport.request(
            "POST", _path(name, "exec"), body=body, doing=f"run {command[:1]} in {name}"
        )
        return str(response.json()["Id"])

    async def exec_start(self, session: str, *, terminal: bool = False) -> RawStream:
        """Start the process and take its streams."""
        body = {"Detach": False, "Tty": terminal}
        reader, writer = await self._transport.hijack(f"/exec/{session}/start", body=body, doing="start a process")
        return RawStream(reader, writer, terminal=terminal)

    async def exec_resize(self, session: str, *, width: int, height: int) -> None:
        """Set the size of its terminal."""
        params = {"w": str(width), "h": str(height)}
        await self._transport.request(
            "POST", f"/exec/{session}/resize", params=params, doing="resize a process' terminal"
        )

    async def exec_exit_code(self, session: str) -> int | None:
        """Its exit code, or None while it runs."""
        response = await self._transport.request("GET", f"/exec/{session}/json", doing="inspect a process")
        state = response.json()
        return None if state.get("Running") else int(state.get("ExitCode", 0))

    async def exec_process(self, session: str) -> int | None:
        """Its process id; 0 as long as it was not started, None once it has ended."""
        response = await self._transport.request("GET", f"/exec/{session}/json", doing="inspect a process")
        state = response.json()
        if state.get("Running"):
            return int(state.get("Pid") or 0)
        return None if state.get("CanRemove") else 0

    async def _post(
        self, name: str, verb: str, *, params: dict[str, str] | None = None, deadline: float = 30.0
    ) -> None:
        doing = f"{verb} container {name}"
        await self._transport.request("POST", _path(name, verb), params=params, doing=doing, deadline=deadline)


def _path(name: str, verb: str = "") -> str:
    return f"/containers/{quote(name, safe='')}" + (f"/{verb}" if verb else "")
