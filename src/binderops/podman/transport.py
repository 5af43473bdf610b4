"""HTTP over Podman's socket: deadlines, errors, and connections that turn into raw streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from binderops.errors import EngineError, EngineNotFoundError, EngineUnavailableError

API = "/v4.0.0/libpod"
MAXIMUM_HEAD = 65536


class Transport:
    """Requests to one socket. `doing` says in each error what was asked for; deadlines are in seconds."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        # Streams (events, logs, pulls) hold their connection for long; a pool limit would starve short requests.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=30.0)
        self._client = httpx.AsyncClient(
            # No TLS on this socket: without `verify`, no certificate authorities are loaded (20 ms, 2 MB a client).
            transport=httpx.AsyncHTTPTransport(uds=str(socket), limits=limits, verify=False),
            base_url="http://podman" + API,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every kept connection."""
        await self._client.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content: AsyncIterator[bytes] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: float = 30.0,
    ) -> httpx.Response:
        """One whole exchange. EngineNotFoundError on 404, EngineError on any other refusal or a missed deadline."""
        try:
            async with asyncio.timeout(deadline):
                response = await self._client.request(
                    method, path, params=params, json=body, content=content, headers=headers, timeout=None
                )
        except TimeoutError:
            raise EngineError(f"Podman did not {doing} within {deadline:g} s", where=str(self.socket)) from None
        except httpx.HTTPError as error:
            raise self._unavailable(doing, error) from error
        if response.status_code >= 400:
            raise self._refused(doing, response.status_code, response.content)
        return response

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        connect: float = 10.0,
    ) -> AsyncIterator[httpx.Response]:
        """A response whose body is read as it comes; how long that may take is the reader's to say."""
        try:
            timeout = httpx.Timeout(None, connect=connect)
            async with self._client.stream(method, path, params=params, headers=headers, timeout=timeout) as response:
                if response.status_code >= 400:
                    raise self._refused(doing, response.status_code, await response.aread())
                yield response
        except httpx.HTTPError as error:
            raise self._unavailable(doing, error) from error

    async def hijack(
        self, path: str, *, doing: str, body: Any = None, deadline: float = 15.0
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """POST, then take the connection over as a raw stream (Docker's "hijacking", which no HTTP library knows)."""
        payload = json.dumps(body).encode() if body is not None else b""
        head = (
            f"POST {API}{path} HTTP/1.1\r\nHost: podman\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        writer = None
        try:
            async with asyncio.timeout(deadline):
                reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=MAXIMUM_HEAD)
                writer.write(head.encode() + payload)
                await writer.drain()
                answer = await reader.readuntil(b"\r\n\r\n")
                status = int(answer.split(b" ", 2)[1])
                if status >= 400:
                    raise self._refused(doing, status, await reader.read(MAXIMUM_HEAD))
        except BaseException as error:
            if writer is not None:
                writer.close()
            if isinstance(error, TimeoutError):
                raise EngineError(f"Podman did not {doing} within {deadline:g} s", where=str(self.socket)) from None
            if isinstance(error, OSError | asyncio.IncompleteReadError | asyncio.LimitOverrunError | ValueError):
                raise self._unavailable(doing, error) from error
            raise
        return reader, writer

    def _unavailable(self, doing: str, error: Exception) -> EngineError:
        return EngineUnavailableError(
            f"cannot {doing}: Podman's service does not answer", where=str(self.socket), why=str(error) or repr(error)
        )

    def _refused(self, doing: str, status: int, body: bytes) -> EngineError:
        kind = EngineNotFoundError if status == 404 else EngineError
        return kind(f"cannot {doing}", where=str(self.socket), why=error_message(body) or f"HTTP {status}")


def error_message(body: bytes) -> str:
    """What a libpod error body says: `message` holds the whole chain, `cause` only its end."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return body.decode(errors="replace").strip()[:2000]
    if isinstance(parsed, dict):
        return str(parsed.get("message") or parsed.get("cause") or "")
    return str(parsed)
