"""What holds for every answer: default headers, bans, and a log line without secrets."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from binderops.binder.settings import Settings
from binderops.binder.web.visitors import Bans, client_address

log = structlog.get_logger("binderops.binder.access")

_SECRET = re.compile(r"token|auth|key|code|state|pass|secret", re.IGNORECASE)
_QUIET = ("/metrics", "/health", "/versions")
_ALLOWED_HEADERS = "cache-control, authorization, x-xsrftoken, last-event-id"


class Everywhere:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, settings: Settings, bans: Bans) -> None:
        self._app = app
        self._base = settings.binder.base_url
        self._bans = bans
        self._headers = _default_headers(settings)
        self._unbanned = tuple(
            f"{self._base}{path}"
            for path in ("versions", "health", "badge", "logo_social", "assets/", "static/", "build/")
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, started, status = Request(scope), time.monotonic(), 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(request, MutableHeaders(scope=message))
            await send(message)

        try:
            label = self._bans.label_for(client_address(request))
            if label is not None and not request.url.path.startswith(self._unbanned):
                await _forbidden()(scope, receive, send_more)
            else:
                await self._app(scope, receive, send_more)
        finally:
            self._log(request, status, time.monotonic() - started)

    def _add_headers(self, request: Request, headers: MutableHeaders) -> None:
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Referrer-Policy", "strict-origin-when-cross-origin")
        path = request.url.path.removeprefix(self._base.rstrip("/"))
        if path.startswith(("/static/", "/badge", "/logo_social", "/assets/")):
            return
        for name, value in self._headers.items():
            headers[name] = value
        if path == "/versions":
            headers.setdefault("Access-Control-Allow-Origin", "*")

    def _log(self, request: Request, status: int, seconds: float) -> None:
        quiet = status == 200 and (request.url.path.endswith(_QUIET) or "/static/" in request.url.path)
        write = log.debug if quiet else log.info
        write(
            "request",
            method=request.method,
            path=request.scope["raw_path"].decode("ascii", errors="replace")[:500],
            query=scrub(request.url.query)[:500],
            status=status,
            address=client_address(request),
            seconds=round(seconds, 3),
        )


def scrub(query: str) -> str:
    """A query string for logs: values whose names sound like secrets are hidden."""
    return "&".join(
        f"{name}={'[secret]' if _SECRET.search(name) else quote(value, safe='/:')}"
        for name, value in parse_qsl(query, keep_blank_values=True)
    )


def _default_headers(settings: Settings) -> Mapping[str, str]:
    binder = settings.binder
    headers = {"Access-Control-Allow-Headers": _ALLOWED_HEADERS}
    if binder.cors_allow_origin:
        headers["Access-Control-Allow-Origin"] = binder.cors_allow_origin
    more = binder.tornado_settings.get("headers") or {}
    return {**headers, **{str(name): str(value) for name, value in more.items()}}


def _forbidden() -> HTMLResponse:
    text = "<html><title>403: Forbidden</title><body>403: Forbidden</body></html>"
    return HTMLResponse(text, status_code=403)
