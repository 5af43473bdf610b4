"""The client of one engine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from binderops.podman.containers import Containers
from binderops.podman.images import Images
from binderops.podman.transport import Transport


class EngineEvent(NamedTuple):
    """Something that happened in the engine: `kind` is container or image, `action` Podman's word (died, start, …)."""

    kind: str
    action: str
    id: str
    time_ns: int
    attributes: dict[str, str]


class Podman:
    """libpod's REST API over a unix socket. Use as `async with Podman(socket) as podman`."""

    def __init__(self, socket: Path) -> None:
        self._transport = Transport(socket)
        self.images = Images(self._transport)
        self.containers = Containers(self._transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.close()

    async def ping(self, *, deadline: float = 5.0) -> str:
        """The engine's version; EngineError if it does not answer within `deadline` s."""
        response = await self._transport.request("GET", "/_ping", doing="ask for a sign of life", deadline=deadline)
        return str(response.headers.get("Libpod-API-Version", ""))

    async def info(self) -> dict[str, Any]:
        """What `podman info` shows."""
        found: dict[str, Any] = (await self._transport.request("GET", "/info", doing="describe the engine")).json()
        return found

    async def events(
        self, *, since: int | None = None, filters: dict[str, list[str]] | None = None
    ) -> AsyncIterator[EngineEvent]:
        """Events as they happen, from `since` (seconds of the epoch); ends, or raises, with the service."""
        params = {"stream": "true"}
        if since is not None:
            params["since"] = str(since)
        if filters:
            params["filters"] = json.dumps(filters)
        async with self._transport.stream("GET", "/events", params=params, doing="watch the engine") as response:
            async for line in response.aiter_lines():
                if line.strip():
                    yield _event(json.loads(line))


def _event(parsed: dict[str, Any]) -> EngineEvent:
    actor = parsed.get("Actor") or {}
    return EngineEvent(
        kind=str(parsed.get("Type", "")),
        action=str(parsed.get("Action", "")),
        id=str(actor.get("ID", "")),
        time_ns=int(parsed.get("timeNano", 0)),
        attributes={str(key): str(value) for key, value in (actor.get("Attributes") or {}).items()},
    )
