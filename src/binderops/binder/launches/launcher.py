"""Starting a server for an image: a new temporary user each time, several attempts, the hub's words passed on."""

from __future__ import annotations

import asyncio
import base64
import re
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from binderops.binder.events import Event, event
from binderops.binder.launches.hub import Hub
from binderops.binder.metrics import Metrics
from binderops.binder.naming import user_name
from binderops.binder.traits import Launcher as LauncherTraits
from binderops.errors import HubError

_TURNS = 2
"""The hub does one thing at a time: of many launches the first are to start before it has begun with the last."""

log = structlog.get_logger(__name__)

# As the hub's start hook says it of a server that ended by itself.
_ENDED = re.compile(r"server ended before it answered.*?container \S+: (?P<how>.*exit code (?P<code>\d+))", re.DOTALL)
# Of a shell and of an engine: the command cannot be executed, is not there, the container cannot be started.
_NEVER_STARTS = {"126", "127", "128"}


@dataclass(frozen=True)
class LaunchRequest:
    """What the server is given besides its image (`binder_ref_url`, `binder_request`, …)."""

    image: str
    repo_url: str
    extra: Mapping[str, str]


@dataclass
class Launched:
    """Whose server it is (of the last attempt), where it is: its URL, and the token that opens it."""

    user: str = ""
    url: str = ""
    token: str = field(default="", repr=False)
    attempts: int = 0


class Launcher:
    """Launches through the hub. `hub_url` is the hub as browsers see it."""

    def __init__(self, hub: Hub, hub_url: str, traits: LauncherTraits, metrics: Metrics) -> None:
        self._hub = hub
        self._hub_url = hub_url
        self._traits = traits
        self._metrics = metrics
        self._turns = asyncio.Semaphore(_TURNS)

    async def launch(self, request: LaunchRequest, launched: Launched) -> AsyncGenerator[Event, None]:
        """Events of the start; at the end `launched` is filled. Raises HubError with the text for the visitor."""
        yield event("launching", "Launching server...")
        ended = ""
        for attempt in range(1, self._traits.retries + 1):
            started = time.monotonic()
            launched.attempts = attempt
            try:
                async for item in self._attempt(request, launched):
                    yield item
            except HubError as error:
                before, ended = ended, _how_it_ended(error)
                last = attempt == self._traits.retries or _is_hopeless(ended, before)
                log.warning("a launch failed", image=request.image, attempt=attempt, error=str(error))
                status = "failure" if last else "retry"
                self._metrics.launch_time.labels(status, "-1").observe(time.monotonic() - started)
                if last:
                    raise
            else:
                self._metrics.launch_time.labels("success", str(attempt - 1)).observe(time.monotonic() - started)
                return
            yield event("launching", f"Launch attempt {attempt} failed, retrying...")
            await asyncio.sleep(self._traits.retry_delay * 2 ** (attempt - 1))

    async def _attempt(self, request: LaunchRequest, launched: Launched) -> AsyncGenerator[Event, None]:
        user = launched.user = user_name(request.repo_url)
        token = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        options: dict[str, Any] = {
            "image": request.image,
            "repo_url": request.repo_url,
            "token": token,
            **request.extra,
        }
        try:
            async with self._turns:
                await self._create_user(user, request.image)
                await self._hub.start_server(user, options)
            async with asyncio.timeout(self._traits.launch_timeout):
                async for item in self._progress(user, request.image):
                    yield item
        except TimeoutError as error:
            raise HubError(f"Image {request.image} for user {user} took too long to launch") from error
        except HubError as error:
            if error.where:
                text = f"Failed to launch image {request.image}"
                raise HubError(text, where=error.where, why=error.why or error.what) from error
            raise
        launched.url = f"{self._hub_url}user/{user}/"
        launched.token = token

    async def _create_user(self, user: str, image: str) -> None:
        try:
            await self._hub.create_user(user)
        except HubError as error:
            text = f"Failed to create temporary user for {image}"
            raise HubError(text, why=f"{error.where}: {error.why}") from error

    async def _progress(self, user: str, image: str) -> AsyncGenerator[Event, None]:
        async for item in self._hub.progress(user):
            message = str(item.get("message", ""))
            if item.get("failed"):
                raise HubError(message or f"Image {image} for user {user} failed to launch")
            if message:
                yield event("launching", message)
            if item.get("ready"):
                return
        raise HubError(f"Image {image} for user {user} failed to launch")


def _how_it_ended(error: HubError) -> str:
    found = _ENDED.search(f"{error.what} {error.why or ''}")
    return found["how"] if found else ""


def _is_hopeless(ended: str, before: str) -> bool:
    """What cannot be started never will be, and what ended twice in the same way ends so each time."""
    return bool(ended) and (ended == before or ended.rpartition(" ")[2] in _NEVER_STARTS)
