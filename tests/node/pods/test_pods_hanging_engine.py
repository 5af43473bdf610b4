"""An engine whose service runs and answers nothing is started anew; one that only seems late is left alone."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.podman.tiny import TINY, private_engine

from binderops.errors import EngineError
from binderops.node.pods import engine as room
from binderops.node.pods import exits, records
from binderops.podman import EngineSettings, Podman, find_service

pytestmark = [pytest.mark.podman, pytest.mark.root]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineSettings]:
    with private_engine(tmp_path_factory.mktemp("hanging")) as settings:
        yield settings


@pytest.fixture
async def podman(engine: EngineSettings) -> AsyncIterator[Podman]:
    async with Podman(engine.socket) as client:
        yield client


async def test_one_that_hangs_is_started_anew_and_heard_again(
    engine: EngineSettings, podman: Podman, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SIGN_SECONDS", 1.0)
    body = {
        "image": TINY,
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"],
        "netns": {"nsmode": "host"},
        "cgroup_parent": "/test-podman",
        "labels": {records.NODE: "test", records.POD_UID: "uid"},
    }
    identity = await podman.containers.create(body)
    await podman.containers.start(identity)
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    missed = asyncio.Event()
    listening = asyncio.create_task(
        room.listen(engine, podman, "test", lambda *end: heard.put_nowait(end), missed), name="listening"
    )
    try:
        service = find_service(engine)
        assert service is not None
        os.kill(service, signal.SIGSTOP)
        with pytest.raises(EngineError, match="within 1 s"):
            await podman.ping(deadline=1.0)
        async with asyncio.timeout(60):
            await missed.wait()
        assert find_service(engine) not in {None, service}
        assert await exits.ended(service, timeout=10)
        assert (await podman.containers.inspect(identity))["State"]["Running"], "it is its monitor's, not the service's"
        await podman.containers.kill(identity, signal="TERM")
        async with asyncio.timeout(30):
            # The monitor's own clean-up may not come after such an end of its service; who asks lets the engine see it.
            while (await podman.containers.inspect(identity))["State"]["Running"]:
                await asyncio.sleep(0.05)
            assert await heard.get() == ("uid", identity)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await podman.containers.remove(identity, force=True)


async def test_one_that_the_node_itself_is_late_for_is_left_alone(
    engine: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SIGN_SECONDS", 0.2)
    monkeypatch.setattr(room, "RETRY_SECONDS", 0.05)
    rounds = 0

    class Held(Podman):
        """An engine's client in a process that is held up whenever it has asked."""

        async def ping(self, *, deadline: float = 5.0) -> str:
            nonlocal rounds
            rounds += 1
            asyncio.get_running_loop().call_later(0.0, time.sleep, 0.5)
            return await super().ping(deadline=deadline)

    hearing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with Held(engine.socket) as held:
        asking = asyncio.create_task(room.until_silent(held, hearing))
        async with asyncio.timeout(60):
            while rounds <= 2 * room.SIGNS and not asking.done():
                await asyncio.sleep(0.01)
        hearing.set_result(None)
        await asking
