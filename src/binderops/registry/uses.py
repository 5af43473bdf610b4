"""What the registry tells of its use: a manifest's link gets the time at which it was pulled or pushed last.

So the record of last uses lies in the storage itself: it survives restarts, needs no room on a full disk, and goes with
the image. Source: https://distribution.github.io/distribution/about/notifications/
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog

from binderops.registry.storage import LINK, REVISIONS, Storage, is_digest

log = structlog.get_logger(__name__)

_LONGEST = 4 << 20
_CHANGES = frozenset({"push", "delete", "mount"})
_TIMEOUT_SECONDS = 10.0


class Uses:
    """Writes down what events say. `changed` is set by whatever may leave something to sweep."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.changed = threading.Event()

    def take(self, envelope: Any) -> None:
        """The body of one notification; what is none is passed over."""
        events = envelope.get("events") if isinstance(envelope, Mapping) else None
        for event in events if isinstance(events, list) else ():
            if isinstance(event, Mapping) and isinstance(event.get("target"), Mapping):
                self._event(str(event.get("action")), event["target"])

    def _event(self, action: str, target: Mapping[str, Any]) -> None:
        if action in _CHANGES:
            self.changed.set()
        folder = self._storage.repository(str(target.get("repository", "")))
        digest = str(target.get("digest", ""))
        if action in {"pull", "push"} and folder is not None and is_digest(digest):
            # Events of blobs have no such link.
            with suppress(OSError):
                os.utime(folder / REVISIONS / digest.removeprefix("sha256:") / LINK)


def listen(uses: Uses, port: int) -> ThreadingHTTPServer:
    """A server for notifications on loopback, where nobody but the registry of the same pod reaches it."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_SECONDS

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            if not 0 < length <= _LONGEST:
                self.send_error(413)
                return
            try:
                uses.take(json.loads(self.rfile.read(length)))
            except ValueError as error:
                log.warning("a notification of the registry cannot be read", error=str(error))
            # Answered 200 either way: what cannot be read now cannot be read when it is sent again.
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nobody reads a line for each pull."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, name="notifications", daemon=True).start()
    return server
