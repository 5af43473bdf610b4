"""The registry is replaced while the binder serves: nothing is lost, and what cannot be is told in words."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import quote

import httpx
import pytest
from tests.binder.cluster import Cluster, Run, line
from tests.binder.conftest import LOCAL_TOKEN, Served, listening
from tests.binder.test_binder_stream import good_build, phases
from tests.git.git_server import GitServer
from tests.oci.docker_registry import DockerRegistry, RunningRegistry, replaced_registry

from binderops.binder.application import Binder
from binderops.binder.web.app import make_app
from binderops.oci.credentials import Minting
from binderops.oci.insisting import Patience
from binderops.oci.registry import Registry

__all__ = ["replaced_registry"]

AWAY_SECONDS = 2.5
ARCHIVE = b"\x1f\x8b" + b"not really a tar" * 1000


@pytest.fixture
def registry(replaced_registry: DockerRegistry) -> RunningRegistry:
    """The binder's own registry here, so that no other test misses it."""
    return replaced_registry.running


async def come_back(registry: DockerRegistry) -> None:
    await asyncio.sleep(AWAY_SECONDS)
    await asyncio.to_thread(registry.start)


async def upload(url: str) -> httpx.Response:
    headers = {"Authorization": f"token {LOCAL_TOKEN}"}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.put(f"{url}local/hello", content=ARCHIVE, headers=headers)


async def test_an_upload_waits_for_it_and_can_be_launched(
    served: Served, cluster: Cluster, replaced_registry: DockerRegistry
) -> None:
    replaced_registry.stop()
    answer, _ = await asyncio.gather(upload(served.url), come_back(replaced_registry))
    assert answer.status_code == 201, answer.text
    cluster.on_build("local:hello", good_build)
    replaced_registry.stop()
    events, _ = await asyncio.gather(served.events("build/local/hello/HEAD"), come_back(replaced_registry))
    assert events[-1]["phase"] == "ready", events


@pytest.mark.slow
async def test_a_build_and_a_known_image_wait_for_it(
    served: Served, cluster: Cluster, git_server: GitServer, replaced_registry: DockerRegistry
) -> None:
    git_server.make("replaced", {"requirements.txt": ""})
    url, ended = git_server.url("replaced"), threading.Event()

    async def script(run: Run) -> int:
        """It goes before the build's push, and again before the binder gives the image its name."""
        await run.write(line("building", "Step 1/1\n"))
        replaced_registry.stop()
        await asyncio.gather(good_build(run), come_back(replaced_registry))
        replaced_registry.stop()
        ended.set()
        return 0

    cluster.on_build(url, script)
    path = f"build/git/{quote(url, safe='')}/HEAD"
    asked = asyncio.create_task(served.events(path))
    assert await asyncio.to_thread(ended.wait, 30)
    await come_back(replaced_registry)
    events = await asked
    assert phases(events)[-3:] == ["built", "launching", "ready"], events
    replaced_registry.stop()
    again, _ = await asyncio.gather(served.events(path), come_back(replaced_registry))
    assert phases(again) == ["built", "launching", "ready"]


async def test_health_does_not_wait_for_it(served: Served, replaced_registry: DockerRegistry) -> None:
    replaced_registry.stop()
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        started = time.monotonic()
        answer = await client.get(f"{served.url}health")
        assert time.monotonic() - started < 15  # three attempts of two seconds, a second between them
        assert answer.status_code == 503
        assert {row["service"]: row["ok"] for row in answer.json()["checks"]}["Docker registry"] is False
        replaced_registry.start()
        async with asyncio.timeout(10):
            while (await client.get(f"{served.url}health")).status_code != 200:
                await asyncio.sleep(0.1)


async def test_one_that_stays_away_is_told_in_words(
    served: Served, git_server: GitServer, replaced_registry: DockerRegistry
) -> None:
    git_server.make("away", {"requirements.txt": ""})
    replaced_registry.stop()
    async with impatient(served.binder) as url:
        answer = await upload(url)
        assert answer.status_code == 502
        for words in ("The registry did not take it: the registry cannot be reached", "where: 127.0.0.1:", "refused"):
            assert words in answer.json()["message"]
        assert "what to do: " in answer.json()["message"]
        repository = quote(git_server.url("away"), safe="")
        (event,) = await replace(served, url=url).events(f"build/git/{repository}/HEAD")
    assert event["message"] == "The image cannot be looked for: the registry cannot be reached\n"
    assert event["explanation"]["id"] == "registry"
    assert event["explanation"]["advice"]


@asynccontextmanager
async def impatient(binder: Binder) -> AsyncIterator[str]:
    """The same binder, but one that gives up after half a second."""
    assert binder.signer is not None
    host, patience = binder.registry.host, Patience(away=0.5)
    async with (
        Registry(host, Minting(binder.signer), insecure=True, patience=patience) as registry,
        listening(make_app(replace(binder, registry=registry)), 0) as url,
    ):
        yield url
