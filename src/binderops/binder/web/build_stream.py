"""`GET /build/<provider>/<spec>`: the checks before a journey, and the stream of its events.

HTTP's status is always 200, as browsers' event sources give no other answer to a page: a refusal is an event.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response

from binderops.binder.application import Binder
from binderops.binder.builds.explain import explain_text
from binderops.binder.events import Event
from binderops.binder.journey import Asked, Journey
from binderops.binder.specs import cut
from binderops.binder.tokens import same
from binderops.binder.web import visitors
from binderops.binder.web.event_stream import MEDIA_TYPE, EventStream


async def build(request: Request) -> Response:
    """Serve one stream."""
    binder: Binder = request.app.state.binder
    if request.method == "OPTIONS":
        return Response()
    if request.method == "HEAD":
        return Response(media_type=MEDIA_TYPE)
    refusal, headers = _check(request, binder)
    events = _one(refusal) if refusal else _journey(request, binder)
    # The ingress must not gather events into pages.
    return EventStream(events, headers={"X-Accel-Buffering": "no", **headers})


def _check(request: Request, binder: Binder) -> tuple[Event | None, dict[str, str]]:
    """The first reason not to serve this request, in the contract's order, and headers of the rate limit."""
    address = visitors.client_address(request)
    label = request.app.state.bans.label_for(address)
    if label is not None:
        return _refused(403, f"Requests from {label} are not allowed"), {}
    if not _accepts_events(request.headers.get("accept", "")):
        return _refused(400, f"Missing Accept header: {MEDIA_TYPE}"), {}
    if request.method != "GET":
        return _refused(405, "Method Not Allowed"), {}
    token = request.query_params.get("build_token")
    if token is not None and not _is_page_token(request, binder, token):
        return _refused(403, "Invalid build token"), {}
    if token is not None or binder.rate.limit == 0 or is_operator(request, binder):
        return None, {}
    count = binder.rate.count(address)
    if not count.allowed:
        return _refused(429, f"Rate limit exceeded. Try again in {binder.rate.period} seconds."), {}
    return None, count.headers


def is_operator(request: Request, binder: Binder) -> bool:
    """Whether a request carries the release's own token."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return kind.lower() in {"token", "bearer"} and same(token.strip(), binder.local_token)


def _journey(request: Request, binder: Binder) -> AsyncGenerator[Event, None]:
    settings = binder.settings
    named = cut(request.scope["raw_path"], settings.binder.base_url, "build")
    if named is None:
        return _one(_refused(404, "Not Found"))
    asked = Asked(
        prefix=named.prefix,
        spec=named.spec,
        build_only=request.query_params.get("build_only", "").lower() == "true",
        is_operator=is_operator(request, binder),
        has_build_token="build_token" in request.query_params,
        client_address=visitors.client_address(request),
        launch_host=settings.binder.badge_base_url or visitors.public_url(request, settings),
        origin=settings.binder.normalized_origin or visitors.host(request),
        request_origin=request.headers.get("origin", "") or request.headers.get("sec-fetch-site", ""),
    )
    return Journey(binder, asked).events()


def _is_page_token(request: Request, binder: Binder, token: str) -> bool:
    named = cut(request.scope["raw_path"], binder.settings.binder.base_url, "build")
    audience = f"{named.prefix}/{named.spec}" if named else ""
    return binder.page_tokens.is_valid(token, audience, visitors.origin(request))


def _accepts_events(header: str) -> bool:
    named = (part.strip().lower() for piece in header.split(",") for part in piece.split(";"))
    return MEDIA_TYPE in named


def _refused(status_code: int, text: str) -> Event:
    item = {"phase": "failed", "status_code": status_code, "message": f"{text}\n"}
    explanation = explain_text(text)
    return {**item, "explanation": explanation.to_json()} if explanation else item


async def _one(item: Event) -> AsyncGenerator[Event, None]:
    yield item
