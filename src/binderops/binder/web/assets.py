"""Static files and badges: no cookies, no CORS header, cached as long as their names allow."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from binderops.binder.web.pages import STATIC

_FOREVER = "public, max-age=31536000, immutable"
_A_DAY = "public, max-age=86400"
BADGES = {
    "badge.svg": "images/badge.svg",
    "badge_logo.svg": "images/badge_logo.svg",
    "logo_social.png": "images/logo_social.png",
    "assets/images/badge.svg": "images/badge.svg",
}


class Assets(StaticFiles):
    """Files under `/static`: one asked for by its digest never changes, the others are asked about each time."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with how long it may be kept."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = _FOREVER if b"v=" in scope.get("query_string", b"") else "no-cache"
        return response


def our_assets() -> Assets:
    """The files of this package."""
    return Assets(directory=STATIC)


async def badge(request: Request) -> Response:
    """A badge at a path that readmes everywhere link to."""
    base = request.app.state.binder.settings.binder.base_url
    path: Path = STATIC / BADGES[request.url.path.removeprefix(base)]
    return FileResponse(path, headers={"Cache-Control": _A_DAY})
