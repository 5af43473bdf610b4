"""What machines ask: versions, health, metrics, providers."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from binderops.binder.application import Binder
from binderops.binder.providers.github import GitHub
from binderops.binder.web.pages import VERSION


async def versions(request: Request) -> Response:
    """Compared as a whole between members of a federation."""
    image = request.app.state.binder.settings.build_image
    return JSONResponse({"builder_info": {"build_image": image}, "binderhub": VERSION, "builder": image})


async def health(request: Request) -> Response:
    """200 where all that counts is well, else 503; HEAD gives the status alone."""
    binder: Binder = request.app.state.binder
    ok, checks = await binder.health.report()
    return JSONResponse({"ok": ok, "checks": checks}, status_code=200 if ok else 503)


async def metrics(request: Request) -> Response:
    """Prometheus' text."""
    binder: Binder = request.app.state.binder
    for provider in binder.providers.values():
        if isinstance(provider, GitHub) and provider.remaining is not None:
            binder.metrics.github_remaining.set(provider.remaining)
    return Response(binder.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def repo_providers(request: Request) -> Response:
    """The providers' forms, in the order of the settings."""
    binder: Binder = request.app.state.binder
    return JSONResponse([provider.display.to_json() for provider in binder.providers.values()])


async def old_config(request: Request) -> Response:
    """`/_config`, as old documentation has it: labels by prefix."""
    binder: Binder = request.app.state.binder
    rows = {prefix: provider.display.to_json() for prefix, provider in binder.providers.items()}
    return JSONResponse(
        {
            prefix: {"text": row["repo"]["label"], "tag_text": "Git ref (branch, tag, or commit)", **row["repo"]}
            for prefix, row in rows.items()
        }
    )
