"""Answers challenges, and nothing else: host and path must both be known. Besides, health and metrics for the cluster.

Challenges reach it through the path that their Ingress opens; health and metrics are reached only by the pod's address.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

PREFIX = "/.well-known/acme-challenge/"
MARK = "/.well-known/acme-challenge-"
"""What a path's mark begins with: for an Ingress no part of the prefix; a proxy in front may well pass both on."""
_PATIENCE = 10.0  # seconds for a request to come whole
_AT_ONCE = 64  # requests; the proxy before it holds what is more


class Solver:
    """The table of paths, and the server that reads it. Paths may be added from any thread."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], str] = {}
        self._server: ThreadingHTTPServer | None = None

    def put(self, host: str, path: str, answer: str) -> None:
        """Answer at a path of a host."""
        self._answers[host.lower(), path] = answer

    def drop(self, host: str, path: str) -> None:
        """Answer there no more."""
        self._answers.pop((host.lower(), path), None)

    def answer(self, host: str, path: str) -> str | None:
        """What is served at a path of a host: the answer to a challenge, or None."""
        return self._answers.get((_bare(host), path))

    @contextmanager
    def serving(self, port: int, address: str = "") -> Iterator[int]:
        """Serve on a port (0: any that is free); the port that it is."""
        handler = type("Handler", (_Handler,), {"solver": self, "slots": threading.BoundedSemaphore(_AT_ONCE)})
        server = ThreadingHTTPServer((address, port), handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="solver", daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    solver: Solver
    slots: threading.BoundedSemaphore
    timeout = _PATIENCE
    server_version, sys_version = "kube-lego", ""

    def do_GET(self) -> None:
        """One request."""
        with self.slots:
            host, path = self.headers.get("Host", ""), self.path.partition("?")[0]
            answer = self.solver.answer(host, path)
            if answer is not None:
                self._send(200, answer.encode(), "application/octet-stream")
            elif path in ("/", "/healthz"):
                self._send(200, b"ok\n", "text/plain")
            elif path == "/metrics":
                self._send(200, generate_latest(), CONTENT_TYPE_LATEST)
            else:
                self._send(404, b"there is no such challenge here\n", "text/plain")

    def _send(self, code: int, body: bytes, media: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Requests are not logged: anybody on the internet may make them."""


def _bare(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")
