"""The bare container: the same image and limits, by Podman's API, until its server answers."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from bench.place import ENVIRONMENT, RUN
from binderops.hub.spawn_hook import listens
from binderops.podman import Podman

SOCKET = RUN / ENVIRONMENT / "podman" / "podman.sock"
_DEADLINE = 60.0
_RECIPE = (
    "libpod create + start of the image that the launch used, with its memory and CPU limits, host network, the same "
    "jupyter-lab command line; ends with the first answer of /lab"
)


async def recipe(image: str) -> str:
    """How a bare container of this image is made, the image by its digest."""
    async with Podman(SOCKET) as podman:
        found = await podman.images.inspect(image)
    return f"{_RECIPE}; the image is {found['Digest']}"


async def bare_container(image: str, *, port: int, stack: Path | None = None) -> float:
    """Seconds from the create call to the first 200 of the Lab page; the container is removed.

    `stack`: a virtual environment of this machine whose jupyter-lab is started instead of the image's own.
    """
    started = time.monotonic()
    async with bare_server(image, port=port, stack=stack):
        return time.monotonic() - started


@asynccontextmanager
async def bare_server(image: str, *, port: int, stack: Path | None = None) -> AsyncIterator[str]:
    """A bare container whose Lab page has answered: that page's address."""
    name, token = f"bench-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    url = f"http://127.0.0.1:{port}/lab?token={token}"
    async with Podman(SOCKET) as podman:
        await podman.containers.create(_specification(name, image, token, port, stack))
        try:
            await podman.containers.start(name)
            await _until_served(url)
            yield url
        finally:
            await podman.containers.remove(name, force=True)


def _specification(name: str, image: str, token: str, port: int, stack: Path | None) -> dict[str, Any]:
    program = str(stack / "bin" / "jupyter-lab") if stack else "jupyter-lab"
    command = [program, "--ip=127.0.0.1", f"--port={port}", f"--ServerApp.token={token}", "--no-browser"]
    return {
        "name": name,
        "image": image,
        "command": command,
        "user": "1000",
        "mounts": [{"type": "bind", "source": str(stack), "destination": str(stack), "options": ["ro"]}]
        if stack
        else [],
        "netns": {"nsmode": "host"},
        "cgroups_mode": "enabled",
        "resource_limits": {
            "memory": {"limit": 2 * 1024**3},
            "cpu": {"quota": 200_000, "period": 100_000},
        },
    }


async def _until_served(url: str) -> None:
    """Knocks at the port until it is open, then asks: the hub waits in the same way, and requests that are refused
    would take more of the processor than a server's start can spare.
    """
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    deadline = time.monotonic() + _DEADLINE
    async with httpx.AsyncClient(verify=False, trust_env=False, timeout=10, follow_redirects=True) as client:
        while time.monotonic() < deadline:
            if await listens(parts.hostname, parts.port) and await _status(client, url) == 200:
                return
            await asyncio.sleep(0.02)
    raise TimeoutError(f"the bare container did not answer within {_DEADLINE:.0f} s")


async def _status(client: httpx.AsyncClient, url: str) -> int:
    try:
        return (await client.get(url)).status_code
    except httpx.TransportError:
        return 0
