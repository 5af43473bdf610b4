"""The GitHub provider against an API on loopback that answers as GitHub's does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from tests.binder.conftest import MakeBinder

from binderops.binder import journey
from binderops.binder.naming import image_name
from binderops.binder.providers import AnyProvider
from binderops.binder.providers.github import GitHub
from binderops.binder.providers.local import Local
from binderops.binder.traits import GitHubRepoProvider, LocalRepoProvider
from binderops.errors import GitError, SpecError
from binderops.oci.credentials import ANONYMOUS
from binderops.oci.registry import Registry

COMMIT = "a" * 40


class Api:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.url = ""

    async def answer(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode()
        self.seen.append((path, request.headers.get("if-none-match", "")))
        if request.headers["user-agent"] != "BinderHub":
            return Response(status_code=400)
        if "limited" in path:
            reset = str(int(time.time()) + 130)
            headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
            return JSONResponse({}, status_code=403, headers=headers)
        if "absent" in path or path.endswith("/renamed/commits/master"):
            return JSONResponse({}, status_code=404)
        if "/odd/" in path:
            return JSONResponse({"sha": "../../etc"})
        if "/down/" in path:
            return JSONResponse({}, status_code=502)
        if "/moved/" in path:
            return RedirectResponse(f"{self.url}{path.replace('moved', 'here')}", status_code=301)
        if "/away/" in path:
            return RedirectResponse(
                f"{self.url.replace('127.0.0.1', 'localhost')}/repos/u/r/commits/HEAD", status_code=301
            )
        headers = {"etag": '"1"', "x-ratelimit-remaining": "42"}
        if request.headers.get("if-none-match") == '"1"':
            return Response(status_code=304, headers=headers)
        return JSONResponse({"sha": COMMIT}, headers=headers)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    found = Api()
    app = Starlette(routes=[Route("/{path:path}", found.answer)])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    found.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield found
    server.should_exit = True
    await serving


@pytest.fixture
async def github(api: Api) -> AsyncIterator[GitHub]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield GitHub(GitHubRepoProvider(api_base_path=api.url), client)


async def test_resolving_and_its_cache(github: GitHub, api: Api) -> None:
    repository = github.parse("user/repo.git/feature/x")
    assert (repository.url, repository.slug, repository.ref) == (
        "https://github.com/user/repo",
        "user-repo",
        "feature/x",
    )
    for _ in range(2):
        resolved = await github.resolve(repository)
        assert resolved
        assert (resolved.ref, resolved.spec) == (COMMIT, f"user/repo/{COMMIT}")
        assert resolved.ref_url == f"https://github.com/user/repo/tree/{COMMIT}"
    assert api.seen == [("/repos/user/repo/commits/feature%2Fx", ""), ("/repos/user/repo/commits/feature%2Fx", '"1"')]
    assert github.remaining == 42


async def test_what_does_not_exist_is_asked_once(github: GitHub, api: Api) -> None:
    for _ in range(2):
        assert await github.resolve(github.parse("user/absent/HEAD")) is None
    assert len(api.seen) == 1


async def test_redirects_stay_on_their_host(github: GitHub, api: Api) -> None:
    resolved = await github.resolve(github.parse("moved/repo/HEAD"))
    assert resolved
    assert resolved.ref == COMMIT
    with pytest.raises(GitError, match="GitHub answered 301"):
        await github.resolve(github.parse("away/repo/HEAD"))
    assert len(api.seen) == 3


async def test_refusals(github: GitHub) -> None:
    with pytest.raises(GitError, match=r"GitHub rate limit exceeded\. Try again in 5 minutes\."):
        await github.resolve(github.parse("user/limited/HEAD"))
    with pytest.raises(GitError, match="holds no commit"):
        await github.resolve(github.parse("odd/repo/HEAD"))
    with pytest.raises(GitError, match="answered 502"):
        await github.resolve(github.parse("down/repo/HEAD"))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("a/b", 'Spec is not of the form "user/repo/ref", provided: "a/b". Did you mean "a/b/HEAD"?'),
        ("a/main", 'Spec is not of the form "user/repo/ref", provided: "a/main".'),
        ("a", 'Spec is not of the form "user/repo/ref", provided: "a".'),
        ("../x/HEAD", '"../x" is not the name of a GitHub repository.'),
        ("a/b%3Fc/HEAD", '"a/b?c" is not the name of a GitHub repository.'),
    ],
)
async def test_specs_that_are_none(github: GitHub, spec: str, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        github.parse(spec)
    assert caught.value.what == text


async def test_old_default_branches(github: GitHub) -> None:
    assert github.head_instead(github.parse("a/b/master")) == "a/b/HEAD"
    assert github.head_instead(github.parse("a/b/main")) == "a/b/HEAD"
    assert github.head_instead(github.parse("a/b/dev")) is None


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        ({}, ""),
        ({"access_token": "t"}, r"username=t\npassword=x-oauth-basic"),
        ({"access_token": "t", "client_id": "c"}, r"username=c\npassword=t"),
        ({"access_token": "t", "git_credentials": "own"}, "own"),
    ],
)
async def test_credentials(github: GitHub, traits: dict[str, Any], expected: str) -> None:
    assert GitHub(GitHubRepoProvider(**traits), httpx.AsyncClient()).git_credentials == expected


async def test_quotas_and_bans(github: GitHub) -> None:
    traits = GitHubRepoProvider.model_validate(
        {
            "banned_specs": ["^evil/.*"],
            "high_quota_specs": ["^big/.*"],
            "spec_config": [
                {"pattern": "^big/special", "config": {"quota": 7}},
                {"pattern": ".*special", "config": {"quota": 9}},
            ],
        }
    )
    provider = GitHub(traits, httpx.AsyncClient())
    assert provider.is_banned("EVIL/repo/HEAD")
    assert not provider.is_banned("good/evil/HEAD")
    assert provider.quota("a/b/c", usual=1, higher=2) == 1
    assert provider.quota("big/b/c", usual=1, higher=2) == 2
    assert provider.quota("big/special/c", usual=1, higher=2) == 9
    allowed = GitHub(GitHubRepoProvider(allowed_specs=["^good/"]), httpx.AsyncClient())
    assert allowed.is_banned("other/x/y")
    assert not allowed.is_banned("good/x/y")


async def test_an_old_default_branch_is_tried_again_as_head(
    api: Api, make_binder: MakeBinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journey, "HEAD_PAUSE_SECONDS", 0.0)
    values = {"config": {"GitHubRepoProvider": {"api_base_path": api.url}, "LaunchQuota": {"total_quota": 0}}}
    async with make_binder(values=values) as served:
        renamed = await served.events("build/gh/user/renamed/master")
        text = (
            "Could not resolve ref for gh:user/renamed/master. Double check your URL and that your repo is public."
            ' GitHub has changed default branches from "master" to "main".'
            " Tip: HEAD will always resolve to a repository's default branch."
        )
        again = "Trying again with HEAD instead of master. Please update your links."
        assert renamed[0] == {"phase": "waiting", "message": f"{text}\n{again}\n"}
        assert renamed[1]["message"].startswith("Too many users")
        (absent,) = await served.events("build/gh/user/absent/main")
        assert absent["message"] == (
            "Could not resolve ref for gh:user/absent/main. Double check your URL and that your repo is public."
            " Tip: HEAD will always resolve to a repository's default branch.\n"
        )


async def test_no_two_repositories_share_an_image() -> None:
    async with httpx.AsyncClient() as client, Registry("registry.ns.svc:5000", ANONYMOUS) as registry:
        github, local = GitHub(GitHubRepoProvider(), client), Local(LocalRepoProvider(), client, registry)
        asked: list[tuple[AnyProvider, str]] = [
            (github, "local/hello/HEAD"),
            (local, "hello/HEAD"),
            (github, "a-b/c/HEAD"),
            (github, "a/b-c/HEAD"),
        ]
        repositories = [(provider, provider.parse(spec)) for provider, spec in asked]
    names = {
        image_name("r.svc:5000/r2d-1-", repository.slug, identity=provider.identity(repository), ref="1")
        for provider, repository in repositories
    }
    assert len(names) == len(asked)
