"""The pages, the configuration that their scripts read, and the policy that says what may run on them."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, PrefixLoader, select_autoescape
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from binderops.binder.application import Binder
from binderops.binder.settings import Settings
from binderops.binder.specs import cut
from binderops.binder.web import visitors

VERSION = version("binderops")
STATIC = Path(__file__).parent / "static"
_PACKAGE = "binderops.binder.web"
_OWN_PAGES = {"about": "about.html", "about/files": "files.html"}


def make_templates(settings: Settings) -> Environment:
    """Ours, and before them the operator's: theirs reach ours as `templates/<name>`."""
    ours = PackageLoader(_PACKAGE)
    path = settings.binder.template_path
    loader = ChoiceLoader(
        [*([FileSystemLoader(path)] if path else []), ours, PrefixLoader({"templates": ours})],
    )
    environment = Environment(loader=loader, autoescape=select_autoescape(default=True), trim_blocks=True)
    environment.globals.update(settings.binder.template_variables)
    return environment


async def page(request: Request) -> Response:
    """Every path that nothing else serves. As upstream, a page that does not exist is shown, with status 200."""
    if request.method == "OPTIONS":
        return Response()
    binder: Binder = request.app.state.binder
    settings = binder.settings
    path = request.scope["raw_path"].decode("ascii", errors="replace")
    inner = path.removeprefix(settings.binder.base_url) if path.startswith(settings.binder.base_url) else path
    if inner in {"", "/"}:
        return _render(request, "home.html", {})
    if own := _OWN_PAGES.get(inner.rstrip("/")):
        return _render(request, own, {})
    named = cut(request.scope["raw_path"], settings.binder.base_url, "v2")
    if named and named.prefix in binder.providers:
        provider = binder.providers[named.prefix]
        title = f"{provider.display.name}: {named.spec}"
        token = binder.page_tokens.mint(f"{named.prefix}/{named.spec}", visitors.origin(request))
        return _render(
            request, "launch.html", {"buildToken": token}, title=title, spec=named.spec, provider=provider.display
        )
    return _render(request, "missing.html", {})


async def old_repo_link(request: Request) -> Response:
    """`/repo/USER/REPO/PATH`, as links of 2016 have it."""
    base = request.app.state.binder.settings.binder.base_url
    raw = request.scope["raw_path"].decode("ascii", errors="replace")
    user, _, rest = raw.removeprefix(f"{base}repo/").partition("/")
    repo, _, path = rest.partition("/")
    # Upstream goes to master, which GitHub gave up as the default branch, and forgets base_url.
    query = f"?urlpath={quote('/' + unquote(path), safe='')}" if path.strip("/") else ""
    return RedirectResponse(f"{base}v2/gh/{user}/{repo}/HEAD{query}", status_code=302)


def _render(request: Request, template: str, more: Mapping[str, Any], **variables: Any) -> Response:
    binder: Binder = request.app.state.binder
    settings = binder.settings.binder
    nonce = secrets.token_urlsafe(16)
    config = {**_page_config(request, binder), **more}
    content = request.app.state.templates.get_template(template).render(
        page_config=_script_json(config),
        base_url=settings.base_url,
        public_url=visitors.public_url(request, binder.settings),
        badge_base_url=config["badgeBaseUrl"],
        static_url=lambda path: static_url(settings.base_url, path),
        nonce=nonce,
        version=VERSION,
        banner=Markup(settings.banner_message),  # noqa: S704  the operator's own HTML
        about=Markup(settings.about_message),  # noqa: S704
        extra_header_html=[Markup(html) for _, html in sorted(settings.extra_header_html.items())],  # noqa: S704
        extra_footer_scripts=[Markup(code) for _, code in sorted(settings.extra_footer_scripts.items())],  # noqa: S704
        providers=[provider.display.to_json() for provider in binder.providers.values()],
        **{"title": settings.default_opengraph_title, **variables},
    )
    headers = {"Content-Security-Policy": _policy(binder.settings, nonce), "Cache-Control": "no-store"}
    return HTMLResponse(content, headers=headers)


def _page_config(request: Request, binder: Binder) -> dict[str, Any]:
    settings = binder.settings.binder
    return {
        "baseUrl": settings.base_url,
        "badgeBaseUrl": binder.settings.badge_base_url or visitors.public_url(request, binder.settings),
        "logoUrl": static_url(settings.base_url, "logo.svg"),
        "logoWidth": "320px",
        "repoProviders": [provider.display.to_json() for provider in binder.providers.values()],
        "aboutMessage": settings.about_message,
        "bannerHtml": settings.banner_message,
        "binderVersion": VERSION,
    }


def _policy(settings: Settings, nonce: str) -> str:
    """Only our own scripts run. Where the operator adds HTML to the head, what that loads is theirs to answer for."""
    binder = settings.binder
    scripts = "https: 'unsafe-inline'" if binder.extra_header_html else f"'nonce-{nonce}'"
    if binder.extra_footer_scripts and not binder.extra_header_html:
        scripts += " https:"
    styles = " 'unsafe-inline'" if binder.banner_message or binder.about_message or binder.extra_header_html else ""
    connect = " https:" if binder.extra_header_html or binder.extra_footer_scripts else ""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' {scripts}",
            f"style-src 'self'{styles}",
            "img-src 'self' data: https: http:",
            "font-src 'self'",
            f"connect-src 'self'{connect}",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'self'",
        ]
    )


def _script_json(value: Mapping[str, Any]) -> Markup:
    """JSON that cannot end the script element it stands in, whatever a visitor put into the path."""
    text = json.dumps(value)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704


def static_url(base_url: str, path: str) -> str:
    """A static file's URL with its digest, so that it may be kept for ever."""
    return f"{base_url}static/{path}?v={_digest(path)}"


@lru_cache(maxsize=256)
def _digest(path: str) -> str:
    file = STATIC / path
    return hashlib.sha512(file.read_bytes()).hexdigest()[:32] if file.is_file() else ""
