"""Images, by libpod's API."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from binderops.errors import EngineError, EngineNotFoundError, PullError
from binderops.podman.transport import Transport


class Images:
    """`podman.images`: names are whole references (`registry/path:tag`, `name@sha256:…`) or image ids."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def exists(self, name: str) -> bool:
        """Whether the engine (or one of its additional stores) has the image."""
        try:
            await self._transport.request("GET", f"/images/{quote(name, safe='')}/exists", doing=f"look for {name}")
        except EngineNotFoundError:
            return False
        return True

    async def inspect(self, name: str) -> dict[str, Any]:
        """What `podman image inspect` shows; EngineNotFoundError if there is none."""
        path = f"/images/{quote(name, safe='')}/json"
        response = await self._transport.request("GET", path, doing=f"inspect image {name}")
        found: dict[str, Any] = response.json()
        return found

    async def list_all(self, *, filters: dict[str, list[str]] | None = None) -> list[dict[str, Any]]:
        """Every image, as `podman images --format json`."""
        params = {"filters": json.dumps(filters)} if filters else None
        response = await self._transport.request("GET", "/images/json", params=params, doing="list images")
        found: list[dict[str, Any]] = response.json() or []
        return found

    async def pull(
        self, name: str, *, credentials: tuple[str, str] | None = None, tls_verify: bool = True, deadline: float = 600.0
    ) -> str:
        """Pull `name` and return its id. PullError says why not.

        Podman answers 200 even when a pull fails, and sends progress as JSON lines: the last word is in the body.
        """
        params = {"reference": name, "policy": "always"}
        if not tls_verify:
            params["tlsVerify"] = "false"
        headers = {"X-Registry-Auth": registry_auth(*credentials)} if credentials else None
        identity = ""
        try:
            async with (
                asyncio.timeout(deadline),
                self._transport.stream(
                    "POST", "/images/pull", params=params, headers=headers, doing=f"pull {name}"
                ) as response,
            ):
                async for report in _json_lines(response.aiter_lines()):
                    if report.get("error"):
                        raise PullError(f"cannot pull {name}", why=str(report["error"]))
                    identity = str(report.get("id") or identity)
        except TimeoutError:
            raise PullError(f"pulling {name} took longer than {deadline:g} s") from None
        except PullError:
            raise
        except EngineError as error:
            raise PullError(f"cannot pull {name}", why=error.why) from error
        if not identity:
            raise PullError(f"cannot pull {name}", why="Podman ended its answer without an image id")
        return identity

    async def tag(self, name: str, *, repository: str, tag: str) -> None:
        """Give image `name` one more name."""
        params = {"repo": repository, "tag": tag}
        path = f"/images/{quote(name, safe='')}/tag"
        await self._transport.request("POST", path, params=params, doing=f"tag {name}")

    async def import_archive(self, content: AsyncIterator[bytes] | bytes, *, reference: str) -> str:
        """Make an image of one layer from a tar of a root filesystem; returns its id."""
        response = await self._transport.request(
            "POST",
            "/images/import",
            params={"reference": reference},
            content=content,
            headers={"Content-Type": "application/x-tar"},
            doing=f"import {reference}",
            deadline=600.0,
        )
        return str(response.json()["Id"])

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Remove an image (or, with several names, this name of it); it is no error if there is none."""
        params = {"force": str(force).lower()}
        try:
            path = f"/images/{quote(name, safe='')}"
            await self._transport.request("DELETE", path, params=params, doing=f"remove image {name}", deadline=120.0)
        except EngineNotFoundError:
            return


def registry_auth(username: str, password: str) -> str:
    """The value of X-Registry-Auth."""
    return base64.urlsafe_b64encode(json.dumps({"username": username, "password": password}).encode()).decode()


async def _json_lines(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    async for line in lines:
        if line.strip():
            parsed = json.loads(line)
            if isinstance(parsed, dict):
                yield parsed
