"""Wait for a user's server closely, where JupyterHub and KubeSpawner would wait by chance.

Both wait with a random back-off without settings: after a server answers, 0.7 s (median) to 3 s pass until the hub sees
it. KubeSpawner calls `after_pod_created_hook` before either wait: this one looks at the reflector, which a watch feeds,
then asks the server itself every few milliseconds, so that both waits pass at their first look. It also ends at once
when the pod does, where they would wait until start_timeout.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from binderops.errors import SpawnError

LOOK_SECONDS = 0.01  # between looks at the reflector: a dictionary in memory
ASK_SECONDS = 0.02  # between two knocks at the server's port
SHARE = 0.03  # of the time that it has taken so far, where that is more than these
LONGEST_ANSWER = 64 * 1024  # bytes
ANSWER_SECONDS = 5.0  # for one answer: a server that has begun to listen may still be importing


async def wait_until_served(spawner: Any, pod: Mapping[str, Any]) -> None:
    """Return when the server in `pod` answers; for KubeSpawner's `after_pod_created_hook`.

    Raises SpawnError when the pod is gone or has ended, or after the spawner's start_timeout (seconds).
    """
    try:
        async with asyncio.timeout(spawner.start_timeout):
            address = await _address_of_running(spawner)
            if not spawner.internal_ssl:  # with it, only the hub's own client may ask
                await _first_answer(spawner, address)
    except TimeoutError:
        raise SpawnError(
            "the server did not start in time",
            where=f"pod {pod['metadata']['name']}",
            why=f"it did not answer within {spawner.start_timeout} seconds (singleuser.startTimeout)",
        ) from None


async def _address_of_running(spawner: Any) -> str:
    """The pod's address, once KubeSpawner calls it running."""
    began = asyncio.get_running_loop().time()
    while True:
        pod = _living(spawner)
        if spawner.is_pod_running(pod):
            return str(pod["status"]["podIP"])
        await _pause(LOOK_SECONDS, began)


async def _first_answer(spawner: Any, address: str) -> None:
    """Ask until the server answers: anything below 500 does, since it comes from the server itself."""
    began = asyncio.get_running_loop().time()
    host = f"[{address}]" if ":" in address else address
    while True:
        if (
            await listens(address, spawner.port)
            and await _status(f"http://{host}:{spawner.port}{spawner.server.base_url}api") < 500
        ):
            return
        _living(spawner)
        await _pause(ASK_SECONDS, began)


async def _pause(least: float, began: float) -> None:
    """Between two looks: a share of the time that it has taken so far. Many that start at once take longer."""
    await asyncio.sleep(max(least, (asyncio.get_running_loop().time() - began) * SHARE))


async def listens(address: str, port: int) -> bool:
    """Whether a connection is taken. A request that is refused costs six times as much CPU as this."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as knock:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.get_running_loop().sock_connect(knock, (address, port))
        except (OSError, TimeoutError):  # refused, unreachable
            return False
        return True


async def _status(url: str) -> int:
    """The status of one answer; 599, as tornado counts it, where there was none."""
    try:
        answer = await _client().fetch(
            url,
            raise_error=False,
            follow_redirects=False,
            connect_timeout=ANSWER_SECONDS,
            request_timeout=ANSWER_SECONDS,
            decompress_response=False,
        )
    except (OSError, HTTPClientError):  # refused, unreachable, closed, timed out
        return 599
    return int(answer.code)


def _living(spawner: Any) -> Mapping[str, Any]:
    """The pod as the reflector knows it; raises SpawnError when it is gone or has ended."""
    name = spawner.pod_name
    pod: Mapping[str, Any] | None = spawner.pod_reflector.pods.get(f"{spawner.namespace}/{name}")
    if pod is None or pod["metadata"].get("deletionTimestamp"):
        raise SpawnError("the server was stopped while it started", where=f"pod {name}", why="its pod was deleted")
    if pod["status"].get("phase") in ("Failed", "Succeeded"):
        raise SpawnError("the server ended before it answered", where=f"pod {name}", why=_reason(pod["status"]))
    return pod


def _reason(status: Mapping[str, Any]) -> str:
    """Why a pod ended, in its own words."""
    parts = [str(part) for part in (status.get("reason"), status.get("message")) if part]
    for container in status.get("containerStatuses") or ():
        ended = (container.get("state") or {}).get("terminated")
        if ended:
            parts.append(f"container {container['name']}: {ended.get('reason')}, exit code {ended.get('exitCode')}")
            if ended.get("message"):
                parts.append(str(ended["message"]))
    return "; ".join(parts) or f"its phase is {status.get('phase')}"


@lru_cache(maxsize=1)
def _client() -> AsyncHTTPClient:
    """A client of our own: the hub's has ten slots, which servers that answer slowly would hold."""
    # What is asked for is a status; the server is its user's, who may answer with anything.
    return SimpleAsyncHTTPClient(force_instance=True, max_clients=200, max_body_size=LONGEST_ANSWER)
