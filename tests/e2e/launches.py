"""The deployment's event stream, followed as the launch page follows it, and the servers that come of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpx

from binderops.delivery.kernel import run_cell

_SILENCE = 60  # seconds between two lines of a stream; the service sends keep-alives more often
Event = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """A launched Jupyter server, and the events that led to it."""

    url: str
    token: str = field(repr=False)
    events: tuple[Event, ...] = field(repr=False, default=())

    def run(self, code: str, *, timeout: float = 60) -> str:
        """What a fresh kernel answers to a cell, as text."""
        return asyncio.run(run_cell(self.url, self.token, code, timeout=timeout))

    def get(self, path: str) -> Any:
        """The JSON of one of its API's resources."""
        public = urlsplit(urljoin(self.url, path))
        headers = {"Host": public.netloc, "Authorization": f"token {self.token}"}
        url = f"http://127.0.0.1:{public.port}{public.path}"
        return httpx.get(url, headers=headers, timeout=30, trust_env=False).raise_for_status().json()

    @property
    def user(self) -> str:
        """The name of the user, /user/NAME/."""
        return self.url.rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Binder:
    """The service at its public address."""

    url: str

    def stream(self, spec: str, **headers: str) -> Generator[Event, None, None]:
        """The events of one launch until `ready` or `failed`; leaving the loop closes the connection."""
        public = urlsplit(urljoin(self.url, f"build/{spec}"))
        headers = {"Host": public.netloc, "Accept": "text/event-stream", **headers}
        with (
            httpx.Client(trust_env=False, timeout=_SILENCE) as client,
            client.stream("GET", f"http://127.0.0.1:{public.port}{public.path}", headers=headers) as response,
        ):
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                if line.startswith("data:"):
                    event: Event = json.loads(line.removeprefix("data:"))
                    yield event
                    if event.get("phase") in {"ready", "failed"}:
                        return

    def launch(self, spec: str) -> Server:
        """Follows a launch that must end in a server."""
        events = tuple(self.stream(spec))
        assert events and events[-1].get("phase") == "ready", text_of(events)
        return Server(events[-1]["url"], events[-1]["token"], events)


def git_spec(url: str, ref: str = "HEAD") -> str:
    """The spec of a repository for the provider `git`."""
    return f"git/{quote(url, safe='')}/{quote(ref, safe='')}"


def text_of(events: Any) -> str:
    """All messages of a stream, for looking into."""
    return "".join(str(event.get("message") or "") for event in events)


def phases_of(events: Any) -> list[str]:
    """The phases of a stream in their order, each once."""
    return list(dict.fromkeys(str(event["phase"]) for event in events if event.get("phase")))
