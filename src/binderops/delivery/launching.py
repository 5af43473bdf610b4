"""Launching by the event stream, as the page does: open it, follow its phases, then fetch the Lab page."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urljoin

import httpx

from binderops.delivery.public import public_client
from binderops.delivery.results import LaunchResult
from binderops.errors import ProofError

LogLine = Callable[[str, str], None]
"""Called with phase and text of each event of the stream."""

_AGAIN_SECONDS = 1.0
_PAGE_DEADLINE = 30.0  # seconds from `ready` until the Lab page must have answered


@dataclass
class Launched:
    """A launched server: its result, the token that opens it (never shown or stored), and what the launch trusted."""

    result: LaunchResult
    server_url: str
    token: str = field(repr=False)
    trust: ssl.SSLContext | None = field(repr=False, default=None)


async def launch(
    binder_url: str,
    spec: str,
    *,
    on_event: LogLine,
    timeout: float = 600,
    authorization: str | None = None,
    trust: ssl.SSLContext | None = None,
) -> Launched:
    """Launches `spec` (as in /v2/SPEC) and waits for the Lab page; raises ProofError with what the stream said.

    `authorization` is the Authorization header for specs that want the release's token (`local`); `trust`: as for
    `public_client`.
    """
    started = time.monotonic()
    phases: dict[str, float] = {}
    ready: dict[str, Any] = {}
    built = False
    tail: list[str] = []
    try:
        async with asyncio.timeout(timeout), public_client(trust=trust, timeout=60) as client:
            async for event in _followed(client, urljoin(binder_url, f"build/{spec}"), authorization):
                phase = str(event.get("phase") or "").lower()
                message = str(event.get("message") or "")
                if phase and phase != "unknown":
                    phases.setdefault(phase, round(time.monotonic() - started, 3))
                if message.strip():
                    tail = [*tail[-19:], message.rstrip()]
                    on_event(phase, message.rstrip())
                built = built or phase == "building"
                if phase in {"failed", "failure"}:
                    raise _failed(spec, binder_url, tail, event.get("explanation"))
                if phase == "ready":
                    ready = event
                    break
            if not ready:
                raise ProofError(f"the launch of {spec} ended without a server", where=binder_url, why="\n".join(tail))
            await _lab_page(client, ready["url"], ready["token"])
    except TimeoutError:
        raise ProofError(
            f"{spec} was not launched within {timeout:.0f} s", where=binder_url, why="\n".join(tail[-5:]) or "no event"
        ) from None
    except httpx.HTTPError as error:
        raise ProofError(
            f"{binder_url} cannot be reached", where=binder_url, why=f"{type(error).__name__}: {error}"
        ) from None
    seconds = time.monotonic() - started
    phases["page"] = round(seconds, 3)
    result = LaunchResult(
        spec=spec,
        url=ready["url"],
        image=str(ready.get("image", "")),
        built=built,
        seconds=round(seconds, 3),
        phases=phases,
    )
    return Launched(result=result, server_url=ready["url"], token=ready["token"], trust=trust)


async def _followed(client: httpx.AsyncClient, url: str, authorization: str | None) -> AsyncIterator[dict[str, Any]]:
    """The stream's events; one that breaks off is asked for again, as a page's EventSource does: its build goes on."""
    began = False
    while True:
        try:
            async for event in _events(client, url, authorization):
                began = True
                yield event
            return
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.ConnectError):
            if not began:
                raise
        await asyncio.sleep(_AGAIN_SECONDS)


async def _events(client: httpx.AsyncClient, url: str, authorization: str | None) -> AsyncIterator[dict[str, Any]]:
    headers = {"Accept": "text/event-stream"} | ({"Authorization": authorization} if authorization else {})
    async with client.stream("GET", url, headers=headers) as response:
        if response.status_code != 200:
            text = (await response.aread()).decode(errors="replace")
            raise ProofError(f"the event stream answered {response.status_code}", where=url, why=text[:300])
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                try:
                    event = json.loads(line.removeprefix("data:"))
                except ValueError:
                    continue
                if isinstance(event, dict):
                    yield event


async def _lab_page(client: httpx.AsyncClient, url: str, token: str) -> None:
    page = urljoin(url, "lab") + "?" + urlencode({"token": token})
    deadline = time.monotonic() + _PAGE_DEADLINE
    last = "no answer"
    while time.monotonic() < deadline:
        try:
            response = await client.get(page)
            if response.status_code == 200:
                return
            last = f"status {response.status_code}"
        except httpx.TransportError as error:
            last = type(error).__name__
        await asyncio.sleep(0.05)
    raise ProofError("the Lab page did not answer", where=url, why=last, hint="binderops logs proxy")


def _failed(spec: str, where: str, tail: list[str], explanation: Any) -> ProofError:
    """The binder explains what it can, in words for the repository's author; its own log helps with the rest."""
    explained = explanation if isinstance(explanation, dict) and explanation.get("advice") else None
    unknown = explained is None or explained.get("id") == "build-failed"
    title = f": {explained['title']}" if explained and explained.get("title") and not unknown else ""
    own_log = "binderops logs binder shows the service's own side"
    return ProofError(
        f"the launch of {spec} failed{title}",
        where=where,
        why="\n".join(tail[-12:]) or "the stream gave no reason",
        hint=own_log if explained is None else str(explained["advice"]),
    )


def local_spec(name: str, ref: str = "HEAD") -> str:
    """The spec of a folder that was uploaded under `name`."""
    return f"local/{quote(name, safe='')}/{quote(ref, safe='')}"
