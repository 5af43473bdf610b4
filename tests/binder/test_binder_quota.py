"""Quotas count launches from their check on: many at once do not all pass because none has a pod yet."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import pytest
from tests.binder.cluster import Cluster
from tests.binder.conftest import MakeBinder, Served
from tests.binder.test_binder_stream import good_build
from tests.git.git_server import GitServer

from binderops.binder.builds.pods import Pods
from binderops.binder.launches.launcher import Launched, Launcher
from binderops.binder.launches.quota import Servers
from binderops.errors import QuotaError

IMAGE, OTHER = "registry.binder.svc:5000/r2d-a:1", "registry.binder.svc:5000/r2d-b:1"


def pod(user: str, image: str) -> dict[str, Any]:
    metadata = {"name": f"jupyter-{user}", "annotations": {"hub.jupyter.org/username": user}}
    return {"metadata": metadata, "spec": {"containers": [{"name": "notebook", "image": image}]}}


@pytest.fixture
def users() -> list[Any]:
    return []


@pytest.fixture
def servers(users: list[Any]) -> Servers:
    return Servers(cast(Pods, SimpleNamespace(users=users)))


def passes(servers: Servers, image: str = IMAGE, *, total: int | None = None, repo_quota: int = 0) -> bool:
    try:
        servers.check(total=total, image=image, repo_quota=repo_quota, repo_url="a")
    except QuotaError:
        return False
    return True


def test_a_launch_counts_before_its_pod_is_there(servers: Servers) -> None:
    with ExitStack() as held:
        for _ in range(2):
            assert passes(servers, total=2, repo_quota=2)
            held.enter_context(servers.starting(Launched(), IMAGE))
        assert not passes(servers, total=2)
        assert not passes(servers, image=IMAGE.replace(":1", ":2"), repo_quota=2), "at any of its references"
        assert passes(servers, OTHER, repo_quota=2)
    assert passes(servers, total=1, repo_quota=1), "its end, whichever, gives the place back"


def test_a_launch_and_its_pod_are_one(servers: Servers, users: list[Any]) -> None:
    launched = Launched(user="a-1")
    users.append(pod("a-1", IMAGE))
    with servers.starting(launched, IMAGE):
        assert passes(servers, total=2, repo_quota=2)
        launched.user = "a-2"  # another attempt, while the first one's pod is still going
        assert not passes(servers, total=2)
        assert not passes(servers, repo_quota=2)


async def test_of_many_at_once_as_many_launch_as_may(
    served: Served, make_binder: MakeBinder, cluster: Cluster, git_server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    git_server.make("at-once", {"a": ""})
    url = git_server.url("at-once")
    cluster.on_build(url, good_build)
    path = f"build/git/{quote(url, safe='')}/HEAD"
    await served.events(path)
    config = {"LaunchQuota": {"total_quota": 3}, "RateLimiter": {"limit": 0}}
    async with make_binder(values={"config": config}) as limited:
        go_on = asyncio.Event()
        real = Launcher._attempt

        async def held(self: Launcher, *arguments: Any) -> Any:
            while not go_on.is_set():  # another loop's event: looked at, not awaited
                await asyncio.sleep(0.01)
            async for item in real(self, *arguments):
                yield item

        monkeypatch.setattr(Launcher, "_attempt", held)
        asking = [asyncio.create_task(limited.events(path)) for _ in range(12)]
        async with asyncio.timeout(20):
            done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            while len(done) < 9:
                done, _ = await asyncio.wait(asking, timeout=0.05)
        assert {(await each)[-1]["message"] for each in done} == {"Too many users on this BinderHub! Try again soon.\n"}
        go_on.set()
        ended = [(await each)[-1]["phase"] for each in asking]
    assert sorted(ended) == ["failed"] * 9 + ["ready"] * 3
