"""HTTP as the API needs it: bodies with a limit, answers that know their media type, streams. ASGI below."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import orjson
import yaml

from binderops.errors import KubernetesError
from binderops.node.api import refusals
from binderops.node.api.objects.decoding import MAX_BODY
from binderops.node.api.objects.status import too_large
from binderops.node.api.requests import Query

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = "application/json"
YAML = "application/yaml"
_COMPRESS_FROM = 128 * 1024  # bytes; kube-apiserver's own threshold
_AUDIT_NOTE = b"cache-control", b"no-cache, private"


class Request:
    """One request: its line, headers and (read once, within the limit) body."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope.get("method", "GET")
        self.raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        self.query = Query(scope.get("query_string", b""))
        self.state: Mapping[str, Any] = scope.get("state", {})
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._receive = receive
        self.warnings: list[str] = []

    def header(self, name: str, default: str = "") -> str:
        """The first header of that (lower-case) name."""
        wanted = name.encode("ascii")
        return next((value.decode("latin-1") for key, value in self._headers if key == wanted), default)

    def headers(self, name: str) -> list[str]:
        """Every header of that (lower-case) name."""
        wanted = name.encode("ascii")
        return [value.decode("latin-1") for key, value in self._headers if key == wanted]

    async def body(self) -> bytes:
        """Read the body. 413 when it is larger than kube-apiserver takes."""
        declared = self.header("content-length")
        if declared.isdigit() and int(declared) > MAX_BODY:
            raise too_large(f"Request entity too large: limit is {MAX_BODY}")
        chunks, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client went away before its request was whole")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > MAX_BODY:
                raise too_large(f"Request entity too large: limit is {MAX_BODY}")
            chunks.append(chunk)
            if not message.get("more_body"):
                return b"".join(chunks)

    async def disconnected(self) -> None:
        """Return when the client has gone; the body must have been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    @property
    def is_own(self) -> bool:
        """Whether a part of the node asks, from this very process: nothing is won by compressing then."""
        return bool(self.state.get("own"))

    @property
    def user_agent(self) -> str:
        """Who the client says it is."""
        return self.header("user-agent")


class Answer:
    """A whole answer: JSON bytes (or another media type's)."""

    def __init__(
        self, body: bytes, *, code: int = 200, media_type: str = JSON, headers: Mapping[str, str] | None = None
    ) -> None:
        self.body = body
        self.code = code
        self.media_type = media_type
        self.headers = headers or {}

    async def send(self, request: Request, send: Send) -> None:
        """Send it, in the form and encoding that the client asked for."""
        body, media_type = self.body, self.media_type
        if media_type == JSON:
            body, media_type = _in_asked_form(request, body)
        headers = [(b"content-type", media_type.encode()), _AUDIT_NOTE]
        headers += [(key.encode(), value.encode("latin-1", "replace")) for key, value in self.headers.items()]
        headers += _warning_headers(request.warnings)
        if len(body) >= _COMPRESS_FROM and not request.is_own and "gzip" in request.header("accept-encoding"):
            # In a thread: a list of release records is many megabytes, and others want answers meanwhile.
            body = await asyncio.to_thread(gzip.compress, body, 1)
            headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": self.code, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else body})


class Stream:
    """An answer in pieces, for as long as the iterator yields."""

    def __init__(
        self,
        chunks: AsyncGenerator[bytes],
        *,
        media_type: str = JSON,
        cut: asyncio.Event | None = None,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self._chunks = chunks
        self._media_type = media_type
        self._cut = cut or asyncio.Event()
        self._closed = closed

    async def send(self, request: Request, send: Send) -> None:
        """Send the pieces as they come, until the iterator or the client has had enough, or `cut` is set.

        A client that does not read keeps `send` waiting for ever: cutting drops its connection, unsent bytes and all.
        `closed` is called at the end, also when the iterator never began.
        """
        try:
            headers = [(b"content-type", self._media_type.encode()), _AUDIT_NOTE, *_warning_headers(request.warnings)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            # An empty piece makes uvicorn send the headers now: clients wait for them before they call a watch open.
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            await self._send_pieces(request, send)
        finally:
            self._closed()

    async def _send_pieces(self, request: Request, send: Send) -> None:
        pump = asyncio.create_task(self._pump(send))
        others = [asyncio.create_task(request.disconnected()), asyncio.create_task(self._cut.wait())]
        try:
            await asyncio.wait({pump, *others}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._cut.is_set() and (transport := request.state.get("transport")):
                transport.abort()
            for task in (pump, *others):
                task.cancel()
            outcome, *_ = await asyncio.gather(pump, *others, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome

    async def _pump(self, send: Send) -> None:
        try:
            async for chunk in self._chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await self._chunks.aclose()


def json_answer(value: Any, *, code: int = 200) -> Answer:
    """An object as the answer."""
    return Answer(orjson.dumps(value), code=code)


def text_answer(text: str, *, code: int = 200) -> Answer:
    """Plain text as the answer (health checks)."""
    return Answer(
        text.encode(), code=code, media_type="text/plain; charset=utf-8", headers={"x-content-type-options": "nosniff"}
    )


def error_answer(error: KubernetesError) -> Answer:
    """A refusal as the answer."""
    details: Any = error.status.get("details") or {}
    retry = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    headers = {"retry-after": str(retry)} if retry else {}
    return Answer(orjson.dumps(error.status), code=error.code or 500, headers=headers)


class Accepted:
    """What the client wants objects as: plain, a Table, or their metadata only; and the media type."""

    def __init__(self, accept: str) -> None:
        self.view = ""
        self.media_type = JSON
        for clause in filter(None, (part.strip() for part in accept.split(","))):
            media, _, rest = clause.partition(";")
            parameters = dict(_parameter(text) for text in rest.split(";") if "=" in text)
            view = parameters.get("as", "")
            if (
                media.strip() not in {JSON, "application/*", "*/*", YAML}
                or parameters.get("stream", "watch") != "watch"
            ):
                continue
            if view and (view not in _VIEWS or parameters.get("v") != "v1" or parameters.get("g") != "meta.k8s.io"):
                continue
            self.view = _VIEWS.get(view, "")
            self.media_type = YAML if media.strip() == YAML else JSON
            return
        if accept.strip():
            raise refusals.not_acceptable(f"{JSON}, {YAML}")


_VIEWS = {
    "Table": "Table",
    "PartialObjectMetadata": "PartialObjectMetadata",
    "PartialObjectMetadataList": "PartialObjectMetadata",
}


def _parameter(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key.strip(), value.strip()


def _in_asked_form(request: Request, body: bytes) -> tuple[bytes, str]:
    accept = request.header("accept")
    if accept.strip().startswith(YAML):
        return yaml.safe_dump(json.loads(body), sort_keys=False).encode(), YAML
    if "pretty" in request.query.raw() and request.query.flag("pretty"):
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2) + b"\n", JSON
    return body, JSON


def _warning_headers(warnings: list[str]) -> list[tuple[bytes, bytes]]:
    """Warnings as RFC 7234 has them, the agent unnamed as in kube-apiserver."""
    found = []
    for text in dict.fromkeys(warnings):
        quoted = " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"')
        found.append((b"warning", f'299 - "{quoted}"'.encode("utf-8", "replace")))
    return found
