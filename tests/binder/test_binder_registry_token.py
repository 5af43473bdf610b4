"""The token server: who gets what, by which form of request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
from tests.binder.build_pods import BuildPod, build_pod_of
from tests.binder.cluster import Cluster
from tests.binder.conftest import PULL_PASSWORD, Served

from binderops.oci.tokens import Grants


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def access_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    assert answer.json()["token"] == answer.json()["access_token"]
    claims = jwt.decode(answer.json()["token"], options={"verify_signature": False})
    assert (claims["iss"], claims["aud"]) == ("binder", "registry")
    return {entry["name"]: entry["actions"] for entry in claims["access"]}


async def test_the_pull_secret_reads_everything_and_writes_nothing(served: Served, http: httpx.AsyncClient) -> None:
    url = f"{served.token_url}registry/token"
    scopes = [
        ("service", "registry"),
        ("scope", "repository:a/b:pull,push"),
        ("scope", "repository:c:pull repository:d:*"),
    ]
    login = ("pull", PULL_PASSWORD)
    expected = {"a/b": ["pull"], "c": ["pull"]}
    assert access_of(await http.get(url, params=httpx.QueryParams(scopes), auth=login)) == expected  # type: ignore[arg-type]
    form = "service=registry&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert access_of(await http.post(url, content=form, headers=kind, auth=login)) == expected

    async def pieces() -> AsyncIterator[bytes]:
        yield form[:20].encode()
        yield form[20:].encode()

    assert access_of(await http.post(url, content=pieces(), headers=kind, auth=login)) == expected
    password = f"grant_type=password&username=pull&password={PULL_PASSWORD}&{form}"
    assert access_of(await http.post(url, content=password, headers=kind)) == expected


BUILD = "build-x"


@pytest.fixture
async def build(served: Served, cluster: Cluster) -> AsyncIterator[BuildPod]:
    async with build_pod_of(served, cluster, BUILD, "r2d-x") as pod:
        yield pod


async def test_a_builds_credential_ends_with_its_pod(served: Served, http: httpx.AsyncClient, build: BuildPod) -> None:
    assert served.binder.credentials
    url = f"{served.token_url}registry/token?scope=repository:r2d-x:push,pull"
    login = ("build", served.binder.credentials.mint(BUILD, Grants(push=frozenset({"r2d-x"})), seconds=600))
    assert access_of(await http.get(url, auth=login)) == {"r2d-x": ["pull", "push"]}
    await build.end()
    assert (await http.get(url, auth=login)).status_code == 401, "its pod has ended"
    await build.remove()
    assert (await http.get(url, auth=login)).status_code == 401, "its pod is gone"
    await build.start("r2d-y")
    assert (await http.get(url, auth=login)).status_code == 401, "a later build by that name has a place of its own"
    later = ("build", served.binder.credentials.mint(BUILD, Grants(push=frozenset({"r2d-y"})), seconds=600))
    url = url.replace("r2d-x", "r2d-y")
    assert access_of(await http.get(url, auth=later)) == {"r2d-y": ["pull", "push"]}


async def test_a_build_gets_what_it_was_given(served: Served, http: httpx.AsyncClient, build: BuildPod) -> None:
    assert served.binder.credentials
    grants = Grants(pull=frozenset({"base"}), push=frozenset({"r2d-x"}))
    password = served.binder.credentials.mint("build-x", grants, seconds=60)
    query = "scope=repository:r2d-x:push,pull&scope=repository:base:pull,push&scope=repository:other:pull"
    answer = await http.get(f"{served.token_url}registry/token?{query}", auth=("build", password))
    assert access_of(answer) == {"r2d-x": ["pull", "push"], "base": ["pull"]}
    old = served.binder.credentials.mint("build-x", grants, seconds=-1)
    for login in (("build", old), ("build", password[:-3] + "abc"), ("build", ""), ("pull", password), ("x", "y")):
        refused = await http.get(f"{served.token_url}registry/token?{query}", auth=login)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")


async def test_a_registry_token_is_no_credential_of_a_build(served: Served, http: httpx.AsyncClient) -> None:
    answer = await http.get(f"{served.token_url}registry/token?scope=repository:a:pull", auth=("pull", PULL_PASSWORD))
    token = answer.json()["token"]
    refused = await http.get(f"{served.token_url}registry/token?scope=repository:a:pull", auth=("build", token))
    assert refused.status_code == 401


async def test_hostile_requests(served: Served, http: httpx.AsyncClient) -> None:
    url = f"{served.token_url}registry/token"
    assert (await http.get(url)).status_code == 401
    assert (await http.get(url, headers={"Authorization": "Basic !!!"})).status_code == 401
    # Addresses are kept by every log on the way: a password there is not read.
    assert (await http.get(f"{url}?username=pull&password={PULL_PASSWORD}")).status_code == 401
    assert (await http.post(url, content=b"x" * 100_000, auth=("pull", PULL_PASSWORD))).status_code == 413
    odd = "scope=registry:catalog:*&scope=repository:../etc:pull&scope=%00"
    assert access_of(await http.get(f"{url}?{odd}", auth=("pull", PULL_PASSWORD))) == {}


async def test_the_pages_and_the_tokens_are_served_apart(served: Served, http: httpx.AsyncClient) -> None:
    asked = "registry/token?scope=repository:a:pull"
    assert "access_token" not in (await http.get(f"{served.url}{asked}", auth=("pull", PULL_PASSWORD))).text
    for path in ("", "versions", "health", "build/gh/a/b/c", "v2/gh/a/b/c", "local/x"):
        assert (await http.get(f"{served.token_url}{path}")).status_code == 404, path
