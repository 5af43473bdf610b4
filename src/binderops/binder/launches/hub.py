"""JupyterHub's REST API, as far as launching a server needs it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import structlog

from binderops.errors import HubError

log = structlog.get_logger(__name__)

_REQUEST_SECONDS = 30.0
_FIRST_PAUSE = 4.0
# The hub sends an empty line every 8 s; a stream that is silent for longer has broken off.
_SILENCE_SECONDS = 30.0
_LONGEST_LINE = 64 << 10


class Hub:
    """One kept session with the hub. `base` is the API's URL, with a slash at its end."""

    def __init__(self, base: str, token: str, *, retries: int = 4, first_pause: float = _FIRST_PAUSE) -> None:
        self._base = base
        self._retries = retries
        self._first_pause = first_pause
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"token {token}"},
            timeout=httpx.Timeout(_REQUEST_SECONDS, connect=5.0),
            limits=httpx.Limits(max_keepalive_connections=32, keepalive_expiry=300),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def create_user(self, name: str) -> None:
        """Make a temporary user. Raises HubError."""
        await self._ask("POST", f"users/{_quoted(name)}", expect={201})

    async def start_server(self, name: str, options: Mapping[str, Any]) -> None:
        """Ask for the user's server; returns before it runs. Raises HubError."""
        await self._ask("POST", f"users/{_quoted(name)}/servers/", expect={201, 202}, body=options)

    async def delete_user(self, name: str) -> None:
        """Remove a user whose server did not start. Raises HubError."""
        await self._ask("DELETE", f"users/{_quoted(name)}", expect={204, 404, 202})

    async def is_healthy(self, *, seconds: float = 3.0) -> bool:
        """Whether the API answers at all."""
        answer = await self._client.get(f"{self._base}health", timeout=seconds)
        return answer.status_code < 500

    async def progress(self, name: str) -> AsyncIterator[dict[str, Any]]:
        """The events of a server that starts, until the hub ends the stream. Raises HubError."""
        url = f"{self._base}users/{_quoted(name)}/server/progress"
        timeout = httpx.Timeout(_REQUEST_SECONDS, read=_SILENCE_SECONDS)
        try:
            async with self._client.stream("GET", url, timeout=timeout) as answer:
                if answer.status_code != 200:
                    raise HubError(f"the hub answered {answer.status_code} to a question for progress", where=url)
                async for line in answer.aiter_lines():
                    if line.startswith("data:") and len(line) < _LONGEST_LINE:
                        yield _decoded(line)
        except httpx.HTTPError as error:
            raise HubError(
                f"the hub's progress broke off ({type(error).__name__})", where=url, why=str(error)
            ) from error

    async def _ask(
        self, method: str, path: str, *, expect: set[int], body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """One request; asked again when the hub fails to answer. A conflict then means that the first one was done."""
        url, problem = f"{self._base}{path}", ""
        for attempt in range(self._retries):
            if attempt:
                log.warning("the hub is asked again", url=url, problem=problem)
                await asyncio.sleep(self._first_pause * 2 ** (attempt - 1))
            try:
                answer = await self._client.request(method, url, json=body)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if answer.status_code in expect or (attempt and answer.status_code == 409):
                return answer
            problem = f"{answer.status_code} {_message(answer)}"
            if answer.status_code < 500:
                break
        raise HubError("the hub refuses", where=f"{method} {url}", why=problem)


def _quoted(name: str) -> str:
    return quote(name, safe="@~")


def _decoded(line: str) -> dict[str, Any]:
    try:
        item = json.loads(line.removeprefix("data:"))
    except ValueError:
        return {}
    return item if isinstance(item, dict) else {}


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("message", ""))[:300]
    except (ValueError, AttributeError):
        return answer.text[:100]
