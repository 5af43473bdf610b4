"""What settings do in a running binder where no other test of this folder sees it (all: charts/keys/elsewhere.py)."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.binder.cluster import Cluster, Run, line
from tests.binder.conftest import MakeBinder, RunningHub
from tests.binder.test_binder_http import EVENTS, event_of, page_config
from tests.binder.test_binder_launches import make_user_pod, remove_user_pod
from tests.binder.test_binder_stream import good_build, push
from tests.git.git_server import GitServer

from binderops.binder.providers.github import GitHub
from binderops.binder.settings import Place, from_values
from binderops.binder.traits import GitHubRepoProvider


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        yield client


def port_of(realm: str) -> int:
    """Where the registry sends builds for a token: the port of the binder that gives it."""
    return httpx.URL(realm).port or 0


def path_of(url: str) -> str:
    return f"build/git/{quote(url, safe='')}/HEAD"


async def test_pages_say_what_the_operator_wrote(
    make_binder: MakeBinder, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "own.css").write_text("p {}")
    async with make_binder(
        about_message="<p>Run by us</p>",
        default_opengraph_title="Our Binder",
        badge_base_url="https://badges.example",
        extra_static_path=str(tmp_path),
        extra_static_url_prefix="/ours/",
    ) as served:
        about = (await http.get(f"{served.url}about")).text
        assert "<p>Run by us</p>" in about
        assert '<meta property="og:title" content="Our Binder">' in about
        assert page_config(about)["badgeBaseUrl"] == "https://badges.example/"
        assert 'src="https://badges.example/badge_logo.svg"' in (await http.get(served.url)).text
        assert (await http.get(f"{served.url}ours/own.css")).text == "p {}"


async def test_tokens_of_pages(make_binder: MakeBinder, http: httpx.AsyncClient) -> None:
    """Binders with one secret know each other's; how long one is good, and whether its site must be the same."""
    secret = "ab" * 32
    async with (
        make_binder(build_token_secret=secret, build_token_expires_seconds=31) as one,
        make_binder(build_token_secret=secret, build_token_check_origin=False) as lax,
    ):
        page = page_config((await http.get(f"{one.url}v2/gh/a/b/HEAD")).text)["buildToken"]
        assert 0 < jwt.decode(page, options={"verify_signature": False})["exp"] - time.time() <= 31
        token = one.binder.page_tokens.mint("zz/a/b", "another.example")
        strict = event_of(await http.get(f"{one.url}build/zz/a/b?build_token={token}", headers=EVENTS))
        assert strict["message"] == "Invalid build token\n"
        taken = event_of(await http.get(f"{lax.url}build/zz/a/b?build_token={token}", headers=EVENTS))
        assert taken["message"] == "No provider found for prefix zz\n"


async def test_the_period_of_the_rate_limit(make_binder: MakeBinder, http: httpx.AsyncClient) -> None:
    limits = {"RateLimiter": {"limit": 1, "period_seconds": 61}}
    async with make_binder(values={"config": limits}) as served:
        answer = await http.get(f"{served.url}build/zz/a/b", headers=EVENTS)
        assert abs(int(answer.headers["x-ratelimit-reset"]) - time.time() - 61) < 5


async def test_builds_beyond_the_limit_wait_their_turn(
    make_binder: MakeBinder, cluster: Cluster, git_server: GitServer, token_realm: str
) -> None:
    go_on = asyncio.Event()

    async def slow(run: Run) -> int:
        while not go_on.is_set():  # another loop's event: looked at, not awaited
            await asyncio.sleep(0.01)
        await push(run)
        return 0

    urls = []
    for name in ("turn-one", "turn-two"):
        git_server.make(name, {"a": ""})
        urls.append(git_server.url(name))
        cluster.on_build(urls[-1], slow)
    async with make_binder(port_of(token_realm), concurrent_build_limit=1) as served:
        first = asyncio.create_task(served.events(path_of(urls[0])))
        async with asyncio.timeout(15):
            while not any(pod["metadata"]["annotations"]["binder-repo"] == urls[0] for pod in cluster.created):
                await asyncio.sleep(0.01)
        second = asyncio.create_task(served.events(path_of(urls[1])))
        async with asyncio.timeout(15):
            while not served.binder.builds.watchers_of(urls[1]):
                await asyncio.sleep(0.01)
        assert not any(pod["metadata"]["annotations"]["binder-repo"] == urls[1] for pod in cluster.created)
        go_on.set()
        assert [(await task)[-1]["phase"] for task in (first, second)] == ["ready", "ready"]


async def test_late_watchers_get_as_many_lines_as_are_kept(
    make_binder: MakeBinder, cluster: Cluster, git_server: GitServer, http: httpx.AsyncClient, token_realm: str
) -> None:
    git_server.make("tail", {"a": ""})
    url = git_server.url("tail")
    go_on = asyncio.Event()

    async def talks(run: Run) -> int:
        for number in range(5):
            await run.write(line("building", f"line {number}\n"))
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        await push(run)
        return 0

    cluster.on_build(url, talks)
    async with make_binder(
        port_of(token_realm), values={"config": {"KubernetesBuildExecutor": {"log_tail_lines": 2}}}
    ) as served:
        early, stream = [], http.stream("GET", f"{served.url}{path_of(url)}", headers=EVENTS)
        async with stream as answer:
            lines = answer.aiter_lines()
            async for text in lines:
                early.append(text)
                if "line 4" in text:
                    break
            late = asyncio.create_task(served.events(path_of(url)))
            async with asyncio.timeout(15):
                while served.binder.builds.watchers_of(url) < 2:
                    await asyncio.sleep(0.01)
            go_on.set()
            events = await late
    assert sum("line " in text for text in early) == 5
    assert [each["message"] for each in events if each.get("phase") == "building"] == ["line 3\n", "line 4\n"]


async def test_a_repository_of_the_higher_quota(
    make_binder: MakeBinder, cluster: Cluster, git_server: GitServer, token_realm: str
) -> None:
    git_server.make("higher-quota", {"a": ""})
    url = git_server.url("higher-quota")
    cluster.on_build(url, good_build)
    high = {"GitRepoProvider": {"high_quota_specs": [".*higher-quota.*"]}}
    async with make_binder(
        port_of(token_realm), per_repo_quota=1, per_repo_quota_higher=2, values={"config": high}
    ) as served:
        image = (await served.events(path_of(url)))[-1]["image"]
        names = [f"jupyter-higher-{number}" for number in range(2)]
        try:
            await make_user_pod(served.binder, cluster, names[0], image)
            assert (await served.events(path_of(url)))[-1]["phase"] == "ready"
            await make_user_pod(served.binder, cluster, names[1], image)
            assert (await served.events(path_of(url)))[-1]["message"].startswith("Too many users running")
        finally:
            for name in names:
                await remove_user_pod(cluster, name)


async def test_which_hub_it_is(
    make_binder: MakeBinder, cluster: Cluster, git_server: GitServer, hub: RunningHub, token_realm: str
) -> None:
    """Visitors are sent to hub_url, the binder itself asks hub_url_local, with the token that is set."""
    git_server.make("which-hub", {"a": ""})
    url = git_server.url("which-hub")
    cluster.on_build(url, good_build)
    settings: dict[str, Any] = {"hub_url": "https://hub.example/", "hub_url_local": hub.url}
    settings["normalized_origin"] = "binder.example"
    with structlog.testing.capture_logs() as logs:
        async with make_binder(port_of(token_realm), **settings, hub_api_token=hub.token) as served:
            ready = (await served.events(path_of(url)))[-1]
    assert ready["url"].startswith("https://hub.example/user/which-hub-")
    (launch,) = (entry for entry in logs if entry["event"] == "launch")
    assert launch["origin"] == "binder.example"
    retries = {"config": {"Launcher": {"retries": 1}}}
    async with make_binder(**settings, hub_api_token="another's", values=retries) as stranger:
        assert "Failed to create temporary user" in (await stranger.events(path_of(url)))[-1]["message"]


async def test_protocols_of_git(make_binder: MakeBinder, git_server: GitServer) -> None:
    only = {"GitRepoProvider": {"allowed_protocols": ["https"]}}
    async with make_binder(values={"config": only}) as served:
        refused = (await served.events(path_of(git_server.url("any"))))[-1]
    assert refused["phase"] == "failed"
    assert "git://" in refused["message"] or "protocol" in refused["message"]


async def test_github_is_asked_as_the_operator_says() -> None:
    """An enterprise's own host, and who asks: a token, or an application by its secret."""
    seen: list[str] = []

    async def answer(request: Request) -> JSONResponse:
        seen.append(request.headers.get("authorization", ""))
        return JSONResponse({"sha": "a" * 40})

    app = Starlette(routes=[Route("/{path:path}", answer)])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    base = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/{{hostname}}"
    values = {"config": {"GitHubRepoProvider": {"hostname": "git.example", "api_base_path": base}}}
    token = {"GITHUB_ACCESS_TOKEN": "of the environment"}
    application = {"GITHUB_CLIENT_ID": "me", "GITHUB_CLIENT_SECRET": "theirs"}
    who: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"access_token": "own"}, {}),
        ({"client_id": "me", "client_secret": "secret"}, {}),
        ({}, token),
        ({"access_token": "own"}, token),
        ({}, application),
        ({}, {}),
    ]
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            for credentials, environment in who:
                config = {"config": {"GitHubRepoProvider": {**values["config"]["GitHubRepoProvider"], **credentials}}}
                settings = from_values(config, Place.from_environment(environment, Path("/etc/binderhub")))
                traits = settings.providers["GitHubRepoProvider"]
                assert isinstance(traits, GitHubRepoProvider)
                github = GitHub(traits, client)
                repository = github.parse("user/repo/HEAD")
                assert repository.url == "https://git.example/user/repo"
                assert await github.resolve(repository)
    finally:
        server.should_exit = True
        await serving
    mine, theirs = (f"Basic {base64.b64encode(f'me:{secret}'.encode()).decode()}" for secret in ("secret", "theirs"))
    assert seen == ["token own", mine, "token of the environment", "token own", theirs, ""]


@pytest.mark.parametrize("debug", [True, False])
def test_debug_says_more(debug: bool) -> None:
    code = f"from binderops.binder.__main__ import start_log, log\nstart_log(debug={debug})\nlog.debug('details')\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ["details"] * debug == [json.loads(text)["event"] for text in done.stderr.splitlines()]
