"""What probes and lifecycle hooks do: ask over HTTP, connect, run a command inside the container."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx

from binderops.errors import EngineError
from binderops.node.pods.lateness import Lateness
from binderops.node.pods.sessions import end_session
from binderops.podman import Podman

USER_AGENT = "kube-probe/1.35"
LONGEST_OUTPUT = 10240
CLOSING_SECONDS = 2.0


class Outcome(NamedTuple):
    """Whether it went well, and what to say where it did not.

    `late`: seconds, of those in which no answer came, in which the node itself did not get to look for one.
    """

    ok: bool
    message: str = ""
    late: float = 0.0


class Actions:
    """Runs handlers. One HTTP client serves all: making one loads the machine's CAs each time."""

    def __init__(self, podman: Podman) -> None:
        self._podman = podman
        self._ending: set[asyncio.Task[None]] = set()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        # Probes do not verify certificates (the kubelet does not either): they ask whether a server answers.
        self._http = httpx.AsyncClient(verify=False, limits=limits, trust_env=False)  # noqa: S501

    async def close(self) -> None:
        """Close the HTTP client, once what was given up is ended (2 s at most)."""
        if self._ending:
            _, late = await asyncio.wait(self._ending, timeout=CLOSING_SECONDS)
            for task in late:
                task.cancel()
        await self._http.aclose()

    async def perform(
        self, handler: Mapping[str, Any], container: Mapping[str, Any], *, engine_id: str, address: str, timeout: float
    ) -> Outcome:
        """Perform the handler's one action within `timeout` seconds; a command that takes longer is killed.

        A command goes on where the caller itself is cancelled: a hook need not end with the node's process.
        """
        lateness = Lateness()
        sessions: set[str] = set()
        try:
            with lateness:
                async with asyncio.timeout(timeout):
                    return await self._act(handler, container, engine_id, address, sessions)
        except TimeoutError:
            self._give_up(engine_id, sessions)
            return Outcome(False, f"did not answer within {timeout:g} s", lateness.seconds)
        except (httpx.HTTPError, OSError, EngineError, ValueError) as error:
            self._give_up(engine_id, sessions)
            return Outcome(False, str(error) or repr(error))

    def _give_up(self, engine_id: str, sessions: set[str]) -> None:
        for session in sessions:
            task = asyncio.create_task(end_session(self._podman, engine_id, session))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _act(
        self,
        handler: Mapping[str, Any],
        container: Mapping[str, Any],
        engine_id: str,
        address: str,
        sessions: set[str],
    ) -> Outcome:
        if action := handler.get("exec"):
            return await self._execute(engine_id, [str(word) for word in action.get("command") or []], sessions)
        if action := handler.get("httpGet"):
            return await self._get(action, container, address)
        if action := handler.get("tcpSocket"):
            return await _connect(str(action.get("host") or address), port_of(action["port"], container))
        if action := handler.get("sleep"):
            await asyncio.sleep(float(action.get("seconds") or 0))
            return Outcome(True)
        return Outcome(False, f"unsupported handler: {', '.join(handler)}")

    async def _execute(self, engine_id: str, command: list[str], sessions: set[str]) -> Outcome:
        """Run a command in the container; `sessions` names it to the caller for as long as it may run."""
        session = await self._podman.containers.exec_create(engine_id, command)
        sessions.add(session)
        stream = await self._podman.containers.exec_start(session)
        output = b""
        try:
            async for _, data in stream.output():
                output = (output + data)[-LONGEST_OUTPUT:]
        finally:
            await stream.close()
        while (code := await self._podman.containers.exec_exit_code(session)) is None:
            await asyncio.sleep(0.01)
        sessions.discard(session)
        return Outcome(code == 0, output.decode(errors="replace").strip() or f"exit code {code}")

    async def _get(self, action: Mapping[str, Any], container: Mapping[str, Any], address: str) -> Outcome:
        scheme = str(action.get("scheme") or "HTTP").lower()
        host = str(action.get("host") or address)
        port = port_of(action["port"], container)
        path = "/" + str(action.get("path") or "/").lstrip("/")
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*"}
        headers |= {str(item["name"]): str(item["value"]) for item in action.get("httpHeaders") or []}
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"
        async with self._http.stream("GET", url, headers=headers, timeout=None) as response:
            if 200 <= response.status_code < 400:
                return Outcome(True)
            return Outcome(False, f"HTTP probe failed with statuscode: {response.status_code}")


async def _connect(host: str, port: int) -> Outcome:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Outcome(True)


def port_of(port: int | str, container: Mapping[str, Any]) -> int:
    """A port's number; a name is one of the container's ports. ValueError if there is none."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    for entry in container.get("ports") or []:
        if entry.get("name") == port:
            return int(entry["containerPort"])
    raise ValueError(f"couldn't find port: {port}")
