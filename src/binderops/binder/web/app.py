"""The routes, in the contract's order: the first match wins."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from binderops.binder.application import Binder
from binderops.binder.web import api, pages
from binderops.binder.web.assets import BADGES, Assets, badge, our_assets
from binderops.binder.web.build_stream import build
from binderops.binder.web.middleware import Everywhere
from binderops.binder.web.registry_token import registry_token
from binderops.binder.web.uploads import upload
from binderops.binder.web.visitors import Bans

_ANY = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
_READ = ["GET", "HEAD", "OPTIONS"]


def make_app(binder: Binder) -> Starlette:
    """The whole application."""
    settings = binder.settings
    bans = Bans(settings.binder.ban_networks)
    app = Starlette(
        routes=_routes(binder),
        middleware=[Middleware(Everywhere, settings=settings, bans=bans)],
        exception_handlers={404: _missing, 405: _missing},
    )
    app.router.redirect_slashes = False
    app.state.binder = binder
    app.state.bans = bans
    app.state.templates = pages.make_templates(settings)
    return app


def make_token_app(binder: Binder) -> Starlette:
    """The registry's token server, on a port of its own: builds reach nothing else of the binder."""
    app = Starlette(routes=[Route("/registry/token", registry_token, methods=["GET", "POST"])])
    app.state.binder = binder
    return app


def _routes(binder: Binder) -> list[BaseRoute]:
    settings = binder.settings.binder
    base = settings.base_url
    routes: list[BaseRoute] = [
        Route(f"{base}local/{{name}}", upload, methods=["PUT"]),
        Route(f"{base}metrics", api.metrics, methods=_READ),
        Route(f"{base}versions", api.versions, methods=_READ),
        Route(f"{base}build/{{rest:path}}", build, methods=_ANY),
        Route(f"{base}health", api.health, methods=_READ),
        Route(f"{base}api/repoproviders", api.repo_providers, methods=_READ),
        Mount(f"{base}static", our_assets()),
    ]
    if settings.enable_api_only_mode:
        return routes
    routes += [
        Route(f"{base}_config", api.old_config, methods=_READ),
        Route(f"{base}repo/{{rest:path}}", pages.old_repo_link, methods=_READ),
        *(Route(f"{base}{path}", badge, methods=["GET", "HEAD"]) for path in BADGES),
    ]
    if settings.extra_static_path:
        prefix = settings.extra_static_url_prefix.strip("/")
        routes.append(Mount(f"{base}{prefix}", Assets(directory=settings.extra_static_path)))
    routes.append(Route("/{rest:path}", pages.page, methods=_READ))
    return routes


async def _missing(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    if request.method == "OPTIONS":
        return Response()
    reason = "Not Found" if status == 404 else "Method Not Allowed"
    text = f"<html><title>{status}: {reason}</title><body>{status}: {reason}</body></html>"
    return HTMLResponse(text, status_code=status)
