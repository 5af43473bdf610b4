"""The GitLab provider against an API that answers as GitLab's does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from binderops.binder.providers.gitlab import GitLab
from binderops.binder.settings import Place, from_values
from binderops.binder.traits import GitLabRepoProvider
from binderops.errors import GitError, SpecError

COMMIT = "b" * 40


class Api:
    """What is asked of any host, and what it answers."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        path = request.url.raw_path.decode()
        if "absent" in path:
            return httpx.Response(404, json={"message": "404 Project Not Found"})
        if "denied" in path:
            return httpx.Response(401, json={"message": "401 Unauthorized"})
        if "cut" in path:
            raise httpx.ReadError("reset", request=request)
        return httpx.Response(200, json={"id": "../../etc" if "odd" in path else COMMIT})


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
async def client(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(api.answer)) as opened:
        yield opened


async def test_a_project_of_a_group_of_a_group(api: Api, client: httpx.AsyncClient) -> None:
    gitlab = GitLab(GitLabRepoProvider(), client)
    repository = gitlab.parse("one%2Ftwo-b%2Fproject.git/feature%2Fx")
    assert repository.url == "https://gitlab.com/one/two-b/project.git"
    assert (repository.slug, repository.ref) == ("one-two_-b-project", "feature/x")
    resolved = await gitlab.resolve(repository)
    assert resolved
    assert (resolved.ref, resolved.spec) == (COMMIT, f"one%2Ftwo-b%2Fproject/{COMMIT}")
    assert resolved.ref_url == f"https://gitlab.com/one/two-b/project/tree/{COMMIT}"
    (asked,) = api.seen
    expected = "/api/v4/projects/one%2Ftwo-b%2Fproject/repository/commits/feature%2Fx"
    assert asked.url.raw_path.decode() == expected
    assert gitlab.tree_source(repository, resolved) is not None


def test_two_projects_never_share_a_slug(client: httpx.AsyncClient) -> None:
    gitlab = GitLab(GitLabRepoProvider(), client)
    assert gitlab.parse("a%2Fb-c/HEAD").slug != gitlab.parse("a-b%2Fc/HEAD").slug


@pytest.mark.parametrize(
    "spec", ["project/HEAD", "a%2Fb", "a%2Fb/", "a%2F..%2Fb/HEAD", "a%2F%2Fb/HEAD", "a%2Fb%3Fx/HEAD", "a%2F-x/HEAD"]
)
def test_what_is_no_project_is_told(client: httpx.AsyncClient, spec: str) -> None:
    with pytest.raises(SpecError):
        GitLab(GitLabRepoProvider(), client).parse(spec)


async def test_what_is_not_there_and_what_is_refused(client: httpx.AsyncClient) -> None:
    gitlab = GitLab(GitLabRepoProvider(), client)
    assert await gitlab.resolve(gitlab.parse("a%2Fabsent/HEAD")) is None
    for name, words in (("denied", "answered 401"), ("odd", "holds no commit"), ("cut", "cannot be reached")):
        with pytest.raises(GitError, match=words):
            await gitlab.resolve(gitlab.parse(f"a%2F{name}/HEAD"))


async def test_it_is_asked_as_the_operator_says(api: Api, client: httpx.AsyncClient) -> None:
    """An instance of one's own, and who asks: by values, or by the binder's environment as upstream reads it."""
    environment = {"GITLAB_ACCESS_TOKEN": "of-the-environment", "GITLAB_PRIVATE_TOKEN": "private-there"}
    told = []
    for config, variables in (
        ({}, {}),
        ({"access_token": "own", "private_token": "mine"}, environment),
        ({}, environment),
    ):
        values = {"config": {"GitLabRepoProvider": {"hostname": "gitlab.example", **config}}}
        traits = from_values(values, Place.from_environment(variables, Path("/x"))).providers["GitLabRepoProvider"]
        assert isinstance(traits, GitLabRepoProvider)
        gitlab = GitLab(traits, client)
        assert await gitlab.resolve(gitlab.parse("a%2Fb/HEAD"))
        told.append(gitlab.git_credentials)
    assert {request.url.host for request in api.seen} == {"gitlab.example"}
    assert all("token" not in str(request.url) for request in api.seen)
    assert [(r.headers.get("authorization"), r.headers.get("private-token")) for r in api.seen] == [
        (None, None),
        ("Bearer own", "mine"),
        ("Bearer of-the-environment", "private-there"),
    ]
    assert told == ["", r"username=binderhub\npassword=mine", r"username=binderhub\npassword=private-there"]
