"""Probes over real connections: what is late because the node itself is does not count; what is silent does."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from binderops.node.pods.actions import Actions, Outcome
from binderops.node.pods.lateness import Lateness
from binderops.node.pods.probes import LATE_TRIES, Prober
from binderops.podman import Podman


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(0.1)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[int]:
    """The port of a server that answers after a tenth of a second, in threads that no loop holds up."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
async def actions(tmp_path: Path) -> AsyncIterator[Actions]:
    async with Podman(tmp_path / "none.sock") as podman:
        actions = Actions(podman)
        yield actions
        await actions.close()


class Watch:
    """A prober's life: what it asked, what it reported and complained of."""

    def __init__(self, actions: Actions, port: int, *, block: float = 0.0, blocks: int = 0, **probe: Any) -> None:
        self.outcomes: list[Outcome] = []
        self.reports: list[tuple[str, bool]] = []
        self.complaints: list[str] = []
        self._actions, self._block, self._blocks = actions, block, blocks
        wanted = {
            "httpGet": {"port": port},
            "timeoutSeconds": 0.3,
            "periodSeconds": 0.05,
            "failureThreshold": 1,
            **probe,
        }
        self.prober = Prober({"name": "c", "livenessProbe": wanted}, self._perform, self._report, self._complain)

    async def _perform(self, probe: Mapping[str, Any], timeout: float) -> Outcome:
        if len(self.outcomes) < self._blocks:
            asyncio.get_running_loop().call_later(0.01, time.sleep, self._block)
        outcome = await self._actions.perform(probe, {}, engine_id="", address="127.0.0.1", timeout=timeout)
        self.outcomes.append(outcome)
        return outcome

    def _report(self, kind: str, good: bool, message: str) -> None:
        self.reports.append((kind, good))

    def _complain(self, kind: str, message: str) -> None:
        self.complaints.append(message)


async def test_a_probe_that_the_node_held_up_is_asked_again(actions: Actions, answering: int) -> None:
    watch = Watch(actions, answering, block=0.6, blocks=1)
    task = asyncio.create_task(watch.prober.run())
    async with asyncio.timeout(20):
        while not watch.outcomes or not watch.outcomes[-1].ok:
            await asyncio.sleep(0.01)
    task.cancel()
    assert (watch.outcomes[0].ok, watch.outcomes[0].late > 0.3) == (False, True)
    assert (watch.reports, watch.complaints) == ([], [])


async def test_a_server_that_is_silent_is_found_in_time(actions: Actions, silent: int) -> None:
    watch = Watch(actions, silent, failureThreshold=3)
    began = time.monotonic()
    async with asyncio.timeout(20):
        await watch.prober.run()
    assert watch.reports == [("liveness", False)]
    assert watch.complaints == ["did not answer within 0.3 s"] * 3
    held_up = sum(outcome.late >= 0.075 for outcome in watch.outcomes)  # a busy machine
    assert len(watch.outcomes) == 3 + held_up
    assert time.monotonic() - began < (3 + held_up) * 0.35 + sum(outcome.late for outcome in watch.outcomes) + 1


async def test_a_node_that_is_always_late_still_tells_in_the_end(actions: Actions, silent: int) -> None:
    watch = Watch(actions, silent, block=0.4, blocks=99)
    async with asyncio.timeout(30):
        await watch.prober.run()
    assert watch.reports == [("liveness", False)]
    assert len(watch.outcomes) == 1 + LATE_TRIES
    assert len(watch.complaints) == 1 and "the node itself was late" in watch.complaints[0]


async def test_a_refusal_is_an_answer_however_late_the_node_is(actions: Actions) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    watch = Watch(actions, port, block=0.4, blocks=99)
    async with asyncio.timeout(20):
        await watch.prober.run()
    *held_up, last = watch.outcomes  # a busy machine may be held up before the refusal comes
    assert "attempts failed" in last.message and last.late == 0
    assert all(outcome.late > 0.3 and "did not answer" in outcome.message for outcome in held_up)
    assert watch.reports == [("liveness", False)] and len(watch.complaints) == 1


async def test_how_late_the_loop_is() -> None:
    with Lateness() as quiet:
        await asyncio.sleep(0.2)
    with Lateness() as before:
        await asyncio.sleep(0.1)
        time.sleep(0.5)  # noqa: ASYNC251 - to be late is what is tested
        await asyncio.sleep(0.1)
    with Lateness() as at_the_end:
        time.sleep(0.5)  # noqa: ASYNC251
    assert 0.4 < before.seconds < 0.5 + quiet.seconds + 0.2
    assert 0.4 < at_the_end.seconds <= 0.7
