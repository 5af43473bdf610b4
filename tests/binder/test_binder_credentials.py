"""Credentials for git, of each provider, in a running binder: the build's pod has them, and git there gives them away
to the repository's host."""

from __future__ import annotations

import asyncio
import io
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.binder.cluster import Cluster, Run
from tests.binder.conftest import LOCAL_TOKEN, MakeBinder, Served
from tests.binder.test_binder_authorities import authority
from tests.binder.test_binder_stream import environment_of, push
from tests.git.git_server import GitServer

from binderops.authorities import BUNDLE_VARIABLES
from binderops.build.configuration import git_environment
from binderops.build.handover import Secrets

COMMIT = "c" * 40
OPERATOR = {"Authorization": f"token {LOCAL_TOKEN}"}
ALL = {
    "gh": "GitHubRepoProvider",
    "gl": "GitLabRepoProvider",
    "git": "GitRepoProvider",
    "local": "LocalRepoProvider",
}


@pytest.fixture
async def hosting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """HOST:PORT that knows one commit of every repository, as GitHub's API and as GitLab's, by TLS."""

    async def answer(request: Request) -> JSONResponse:
        return JSONResponse({"sha": COMMIT, "id": COMMIT})

    certificate, key = authority(tmp_path)
    for name in BUNDLE_VARIABLES:
        monkeypatch.setenv(name, str(certificate))
    app = Starlette(routes=[Route("/{path:path}", answer)])
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, lifespan="off", ssl_certfile=certificate, ssl_keyfile=key)
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


def told_by_git(environment: dict[str, str], url: str) -> str:
    """What git answers to the repository's host when it asks for a password, in a pod with this environment."""
    address, secrets = urlsplit(url), Secrets.taken(dict(environment))
    asked = subprocess.run(
        ["git", "credential", "fill"], input=f"protocol={address.scheme}\nhost={address.netloc}\n\n",
        env={**git_environment(secrets.git, url), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    secrets.forget_git()
    return asked.stdout


async def upload(served: Served) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.put(f"{served.url}local/credentials", content=content.getvalue(), headers=OPERATOR)
        assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    "name", ["RepoProvider", "GitRepoProvider", "GitHubRepoProvider", "GitLabRepoProvider", "LocalRepoProvider"]
)
async def test_a_build_is_given_them(
    name: str, make_binder: MakeBinder, cluster: Cluster, git_server: GitServer, hosting: str, token_realm: str
) -> None:
    if not (git_server.root / "credentials").exists():
        git_server.make("credentials", {"a": ""})
    git_url = git_server.url("credentials")
    git = (git_url, f"git/{quote(git_url, safe='')}/HEAD")
    repo, path = {
        "GitHubRepoProvider": (f"https://{hosting}/u/credentials", "gh/u/credentials/HEAD"),
        "GitLabRepoProvider": (f"https://{hosting}/u/credentials.git", "gl/u%2Fcredentials/HEAD"),
        "LocalRepoProvider": ("local:credentials", "local/credentials/HEAD"),
    }.get(name, git)
    given: list[tuple[dict[str, str], str]] = []

    async def build(run: Run) -> int:
        given.append((environment_of(run.pod), run.pod["spec"]["containers"][0]["args"][-1]))
        await push(run)
        return 0

    cluster.on_build(repo, build)
    hosts: dict[str, dict[str, Any]] = {
        "GitHubRepoProvider": {"hostname": hosting, "api_base_path": "https://{hostname}/api/v3"},
        "GitLabRepoProvider": {"hostname": hosting},
    }
    own = {**hosts, name: {**hosts.get(name, {}), "git_credentials": f"username=of-{name}\\npassword=word"}}
    # Another builder each time: what one of them built is not found by the next.
    images = {"build": {"name": "own", "tag": name.lower()}, "notebook": {"name": "n", "tag": "1"}}
    values = {"config": own, "global": {"images": images}}
    async with make_binder(httpx.URL(token_realm).port or 0, values=values, repo_providers=ALL) as served:
        if name == "LocalRepoProvider":
            await upload(served)
        events = await served.events(f"build/{path}", headers=OPERATOR)
    assert events[-1]["phase"] == "ready", events
    ((environment, url),) = given
    assert environment["GIT_CREDENTIAL_ENV"] == f"username=of-{name}\\npassword=word"
    if name == "LocalRepoProvider":
        return  # no host is asked for it
    assert url == repo
    assert f"username=of-{name}\npassword=word\n" in told_by_git(environment, url)
