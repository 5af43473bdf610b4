"""`/registry/token`: the token server of the chart's registry (distribution's token authentication)."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from binderops.binder.application import Binder
from binderops.binder.builds.manifest import PLACE_ANNOTATION, REGISTRY_USER
from binderops.binder.tokens import same
from binderops.errors import BinderError, KubernetesError
from binderops.kube.objects import annotations_of
from binderops.oci.scopes import Scope
from binderops.oci.tokens import TOKEN_SECONDS, Grants

log = structlog.get_logger(__name__)

_LONGEST_FORM = 64 << 10
_MOST_SCOPES = 32


async def registry_token(request: Request) -> Response:
    """Grant what is asked for and allowed; 401 without a password that is good now: a build's ends with its pod."""
    binder: Binder = request.app.state.binder
    if binder.signer is None:
        return JSONResponse({"errors": [{"code": "UNAVAILABLE", "message": "no signing key"}]}, status_code=503)
    form = await _form(request)
    if form is None:
        return JSONResponse({"errors": [{"code": "SIZE_INVALID", "message": "the form is too large"}]}, status_code=413)
    asked = [*request.query_params.multi_items(), *form]
    try:
        subject, grants = await _who(binder, *_password(request, dict(form)))
    except KubernetesError as error:
        log.warning("nobody can say whether a build runs", error=str(error))
        return JSONResponse({"errors": [{"code": "UNAVAILABLE", "message": "ask again"}]}, status_code=503)
    if grants is None:
        return JSONResponse(
            {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]},
            status_code=401,
            headers={"WWW-Authenticate": 'Basic realm="registry"'},
        )
    texts = [text for name, value in asked if name == "scope" for text in value.split()]
    scopes = [scope for text in texts[:_MOST_SCOPES] if (scope := Scope.parse(text))]
    token = binder.signer.mint(grants.allowed(scopes), subject=subject)
    issued = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return JSONResponse(
        {"token": token, "access_token": token, "expires_in": TOKEN_SECONDS, "issued_at": issued},
        headers={"Cache-Control": "no-store"},
    )


async def _who(binder: Binder, username: str, password: str) -> tuple[str, Grants | None]:
    pull = binder.pull_password
    if pull and same(username, pull.username) and same(password, pull.password):
        return username, Grants(pull_anything=True)
    if username == REGISTRY_USER and binder.credentials:
        try:
            build, grants = binder.credentials.read(password)
        except BinderError:
            return "", None
        if await _runs(binder, build, grants):
            return build, grants
    return "", None


async def _runs(binder: Binder, build: str, grants: Grants) -> bool:
    """Whether the very pod that a credential was minted for has not ended: another may have its name by now."""
    pod = await binder.pods.runs(build)
    if pod is None:
        return False
    place = annotations_of(pod).get(PLACE_ANNOTATION)
    return place is None or place in grants.push


def _password(request: Request, form: dict[str, str]) -> tuple[str, str]:
    """From the header, or the body's form; never from the URL, which logs keep."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return form.get("username", ""), form.get("password", "")
    try:
        username, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return username, password


async def _form(request: Request) -> list[tuple[str, str]] | None:
    """The body's fields; None if it is too large. Clients may send it in chunks, without a length."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_FORM:
            return None
    return parse_qsl(body.decode("ascii", errors="replace"))
