"""Routes, headers, tokens, limits and pages as the contract has them, over real HTTP."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from tests.binder.conftest import LOCAL_TOKEN, MakeBinder, Served

from binderops.binder.tokens import PageTokens
from binderops.binder.web.middleware import scrub

EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        yield client


def event_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200
    found: dict[str, Any] = json.loads(answer.text.removeprefix("data: "))
    return found


async def test_versions_metrics_and_providers(served: Served, http: httpx.AsyncClient) -> None:
    versions = await http.get(f"{served.url}versions")
    assert versions.headers["access-control-allow-origin"] == "*"
    assert versions.json()["builder_info"] == {"build_image": "localhost/binderops/build:1"}
    assert versions.json()["builder"] == "localhost/binderops/build:1"
    assert set(versions.json()) == {"builder_info", "builder", "binderhub"}
    text = (await http.get(f"{served.url}metrics")).text
    for name in (
        "# TYPE binderhub_build_time_seconds histogram",
        "binderhub_inprogress_builds",
        "binderhub_inprogress_launches",
        "binderhub_github_rate_limit_remaining",
        "# TYPE binderhub_launch_count_total counter",
        "# TYPE binderhub_build_count_total counter",
        "# TYPE binderhub_launch_time_seconds histogram",
        "process_resident_memory_bytes",
    ):
        assert name in text, name
    rows = (await http.get(f"{served.url}api/repoproviders")).json()
    assert [row["id"] for row in rows] == ["gh", "git", "local"]
    assert rows[0] == {
        "displayName": "GitHub",
        "id": "gh",
        "spec": {"validateRegex": "[^/]+/[^/]+/.+"},
        "detect": {"regex": "^(https?://github.com/)?(?<repo>.*[^/])/?"},
        "repo": {
            "label": "GitHub repository name or URL",
            "placeholder": "example: yuvipanda/requirements or https://github.com/yuvipanda/requirements",
            "urlEncode": False,
        },
        "ref": {"enabled": True, "default": "HEAD"},
    }
    assert set((await http.get(f"{served.url}_config")).json()) == {"gh", "git", "local"}


async def test_health(served: Served, http: httpx.AsyncClient) -> None:
    answer = await http.get(f"{served.url}health")
    assert answer.status_code == 200, answer.text
    assert [row["service"] for row in answer.json()["checks"]] == ["Docker registry", "JupyterHub API", "Pod quota"]
    assert set(answer.json()["checks"][2]) == {
        "service", "total_pods", "build_pods", "user_pods", "quota", "ok", "_ignore_failure",
    }  # fmt: skip
    head = await http.head(f"{served.url}health")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "badge.svg",
        "badge_logo.svg",
        "assets/images/badge.svg",
        "logo_social.png",
        "static/favicon.ico",
        "static/logo.svg",
    ],
)
async def test_what_readmes_link_to(served: Served, http: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "HEAD"):
        answer = await http.request(method, f"{served.url}{path}")
        assert answer.status_code == 200
        assert "access-control-allow-headers" not in answer.headers
        assert "set-cookie" not in answer.headers
        assert "cache-control" in answer.headers


async def test_badges_have_the_sizes_that_readmes_expect(served: Served, http: httpx.AsyncClient) -> None:
    for name, width in (("badge.svg", 92), ("badge_logo.svg", 109)):
        assert f'width="{width}" height="20"' in (await http.get(f"{served.url}{name}")).text


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("repo/user/name", "/v2/gh/user/name/HEAD"),
        ("repo/user/name/", "/v2/gh/user/name/HEAD"),
        ("repo/user/name/tree/a%20b.ipynb", "/v2/gh/user/name/HEAD?urlpath=%2Ftree%2Fa%20b.ipynb"),
    ],
)
async def test_links_of_2016(served: Served, http: httpx.AsyncClient, path: str, location: str) -> None:
    answer = await http.get(f"{served.url}{path}")
    assert (answer.status_code, answer.headers["location"]) == (302, location)


def page_config(text: str) -> dict[str, Any]:
    first = text[: text.index("</head>")].split("<script", 1)[1]
    found: dict[str, Any] = json.loads(first[first.index("window.pageConfig = ") + 20 : first.index(";</script>")])
    return found


async def test_pages_and_their_configuration(served: Served, http: httpx.AsyncClient) -> None:
    home = await http.get(served.url)
    assert home.status_code == 200
    assert '<main id="root">' in home.text
    config = page_config(home.text)
    assert set(config) == {
        "baseUrl",
        "badgeBaseUrl",
        "logoUrl",
        "logoWidth",
        "repoProviders",
        "aboutMessage",
        "bannerHtml",
        "binderVersion",
    }
    policy = home.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    nonce = re.search(r"'nonce-([^']+)'", policy)
    assert nonce
    assert f'<script nonce="{nonce[1]}">window.pageConfig' in home.text
    launch = await http.get(f"{served.url}v2/gh/a/b/HEAD")
    assert '<meta property="og:title" content="GitHub: a/b/HEAD">' in launch.text
    token = page_config(launch.text)["buildToken"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    assert claims["aud"] == "gh/a/b/HEAD"
    assert claims["origin"] == served.url.removeprefix("http://").rstrip("/")
    assert 0 < claims["exp"] - time.time() <= 300
    for path in ("about", "about/files", "nothing/here", "v2/none/a/b", "v2/gh"):
        answer = await http.get(f"{served.url}{path}")
        assert answer.status_code == 200
        assert ("404: Not Found" in answer.text) == (not path.startswith("about"))
        # The documentation of other services does not know what this one understands.
        assert 'href="http' not in answer.text


async def test_a_path_cannot_end_the_script(served: Served, http: httpx.AsyncClient) -> None:
    answer = await http.get(f"{served.url}v2/gh/a/b/%3C/script%3E%3Cscript%3Ealert(1)")
    assert "<script>alert" not in answer.text
    assert page_config(answer.text)["buildToken"]


async def test_methods_of_the_stream(served: Served, http: httpx.AsyncClient) -> None:
    url = f"{served.url}build/zz/a/b/c"
    head = await http.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")
    options = await http.options(url)
    assert (options.status_code, options.content) == (200, b"")
    assert "authorization" in options.headers["access-control-allow-headers"]
    assert (await http.options(served.url)).content == b""
    posted = event_of(await http.post(url, headers=EVENTS))
    assert (posted["status_code"], posted["message"]) == (405, "Method Not Allowed\n")
    for accept in ("*/*", "application/json"):
        refused = event_of(await http.get(url, headers={"Accept": accept}))
        assert refused["status_code"] == 400
        assert refused["message"] == "Missing Accept header: text/event-stream\n"
    for accept in ("text/event-stream", "text/event-stream;q=0.9", "text/event-stream, */*", "TEXT/Event-Stream"):
        answer = await http.get(url, headers={"Accept": accept})
        assert event_of(answer)["message"] == "No provider found for prefix zz\n"
        assert answer.headers["cache-control"] == "no-cache"


async def test_build_tokens(served: Served, http: httpx.AsyncClient) -> None:
    host = served.url.removeprefix("http://").rstrip("/")
    tokens = served.binder.page_tokens
    good = tokens.mint("zz/a/b", host)
    wrong = {
        "another spec": tokens.mint("zz/a/c", host),
        "another site": tokens.mint("zz/a/b", "evil.example"),
        "expired": PageTokens(tokens.secret, seconds=-10).mint("zz/a/b", host),
        "another binder's": PageTokens(b"x" * 32).mint("zz/a/b", host),
        "empty": "",
    }
    answer = event_of(await http.get(f"{served.url}build/zz/a/b?build_token={good}", headers=EVENTS))
    assert answer["message"] == "No provider found for prefix zz\n"
    for why, token in wrong.items():
        refused = event_of(await http.get(f"{served.url}build/zz/a/b?build_token={token}", headers=EVENTS))
        assert (refused["status_code"], refused["message"]) == (403, "Invalid build token\n"), why


async def test_the_rate_limit(make_binder: MakeBinder, http: httpx.AsyncClient) -> None:
    async with make_binder(values={"config": {"RateLimiter": {"limit": 2}}}) as served:
        url = f"{served.url}build/zz/a/b"
        for remaining in ("1", "0"):
            answer = await http.get(url, headers=EVENTS)
            assert answer.headers["x-ratelimit-remaining"] == remaining
            assert answer.headers["x-ratelimit-limit"] == "2"
            assert abs(int(answer.headers["x-ratelimit-reset"]) - time.time() - 3600) < 5
        limited = await http.get(url, headers=EVENTS)
        assert event_of(limited)["status_code"] == 429
        assert event_of(limited)["message"] == "Rate limit exceeded. Try again in 3600 seconds.\n"
        assert "x-ratelimit-limit" not in limited.headers
        token = served.binder.page_tokens.mint("zz/a/b", served.url.removeprefix("http://").rstrip("/"))
        exempt = await http.get(f"{url}?build_token={token}", headers=EVENTS)
        assert event_of(exempt)["message"] == "No provider found for prefix zz\n"
        operator = await http.get(url, headers={**EVENTS, "Authorization": f"token {LOCAL_TOKEN}"})
        assert event_of(operator)["message"] == "No provider found for prefix zz\n"
        # Peers on private networks may be the ingress: what it says of its clients is believed.
        other = await http.get(url, headers={**EVENTS, "X-Forwarded-For": "6.6.6.6, 203.0.113.9"})
        assert other.headers["x-ratelimit-remaining"] == "1"
        again = await http.get(url, headers={**EVENTS, "X-Real-IP": "203.0.113.9", "X-Forwarded-For": "1.2.3.4"})
        assert again.headers["x-ratelimit-remaining"] == "0"


async def test_bans_cors_and_a_base_url(make_binder: MakeBinder, http: httpx.AsyncClient) -> None:
    async with make_binder(
        base_url="/base",
        cors_allow_origin="https://a.example",
        ban_networks={"203.0.113.0/24": "bad people"},
        tornado_settings={"headers": {"X-Mine": "1"}},
    ) as served:
        base = f"{served.url}base/"
        page = await http.get(base)
        assert page.headers["access-control-allow-origin"] == "https://a.example"
        assert page.headers["x-mine"] == "1"
        assert page_config(page.text)["baseUrl"] == "/base/"
        assert (await http.get(f"{base}versions")).headers["access-control-allow-origin"] == "https://a.example"
        banned = {"X-Real-IP": "203.0.113.7"}
        answer = await http.get(base, headers=banned)
        assert answer.status_code == 403
        assert "<title>403: Forbidden</title>" in answer.text
        for path in ("versions", "badge.svg", "health"):
            assert (await http.get(f"{base}{path}", headers=banned)).status_code == 200, path
        event = event_of(await http.get(f"{base}build/gh/a/b/c", headers={**EVENTS, **banned}))
        assert (event["status_code"], event["message"]) == (403, "Requests from bad people are not allowed\n")
        assert (await http.get(f"{base}repo/u/r")).headers["location"] == "/base/v2/gh/u/r/HEAD"


async def test_the_api_only_mode(make_binder: MakeBinder, http: httpx.AsyncClient) -> None:
    async with make_binder(enable_api_only_mode=True) as served:
        for path in ("", "badge.svg", "v2/gh/a/b/c", "about"):
            answer = await http.get(f"{served.url}{path}")
            assert answer.status_code == 404
            assert answer.text == "<html><title>404: Not Found</title><body>404: Not Found</body></html>"
        for path in ("versions", "api/repoproviders", "static/logo.svg"):
            assert (await http.get(f"{served.url}{path}")).status_code == 200


async def test_banned_specs_and_hidden_uploads(make_binder: MakeBinder, http: httpx.AsyncClient) -> None:
    rules = {"GitRepoProvider": {"banned_specs": ["^git%3A.*bad.*"]}}
    async with make_binder(values={"config": rules}) as served:
        spec = "git%3A%2F%2F127.0.0.1%2FBAD/HEAD"
        event = event_of(await http.get(f"{served.url}build/git/{spec}", headers=EVENTS))
        text = f"Sorry, {spec} is not allowed to launch. Please contact admins for more info!"
        assert (event["phase"], event["message"]) == ("failed", text)
        local = f"{served.url}build/local/none/HEAD"
        assert event_of(await http.get(local, headers=EVENTS))["message"] == "No provider found for prefix local\n"
        operator = {**EVENTS, "Authorization": f"token {LOCAL_TOKEN}"}
        assert event_of(await http.get(local, headers=operator))["message"].startswith("Could not resolve ref")


async def test_the_operators_own_pages_and_files(
    make_binder: MakeBinder, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "about.html").write_text(
        '{% extends "templates/page.html" %}{% block content %}<p>{{ greeting }}</p>{% endblock %}'
    )
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "own.css").write_text("p {}")
    async with make_binder(
        template_path=str(tmp_path / "pages"),
        template_variables={"greeting": "ours & <b>"},
        extra_static_path=str(tmp_path / "files"),
        extra_header_html={"b": "<meta name=two>", "a": "<meta name=one>"},
        extra_footer_scripts={"a": "window.footer = 1 < 2;"},
        banner_message="<strong>news</strong>",
    ) as served:
        about = await http.get(f"{served.url}about")
        assert "<p>ours &amp; &lt;b&gt;</p>" in about.text
        assert about.text.index("<meta name=one>") < about.text.index("<meta name=two>") < about.text.index("</head>")
        assert "window.footer = 1 < 2;</script>" in about.text
        assert "<strong>news</strong>" in about.text
        assert "'unsafe-inline'" in about.headers["content-security-policy"]
        assert (await http.get(f"{served.url}extra_static/own.css")).text == "p {}"
        assert (await http.get(f"{served.url}extra_static/%2e%2e/pages/about.html")).status_code == 404


def test_logs_hold_no_secrets() -> None:
    assert scrub("build_token=abc&urlpath=/lab&api_key=1&state=x&password=p") == (
        "build_token=[secret]&urlpath=/lab&api_key=[secret]&state=[secret]&password=[secret]"
    )
