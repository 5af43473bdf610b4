"""kill -9 at random moments of builds and launches: nothing that is not on its path notices, and all comes back.

Here each piece once; `make kills` does it KILLS times (30) each and prints the figures.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from tests.e2e.beats import Beats
from tests.e2e.conftest import NAME, PORT, RUN, STATE
from tests.e2e.killing import ON_THE_PATH, PIECES, Killer, exec_start
from tests.e2e.launches import Binder, Event, Server, git_spec, text_of
from tests.e2e.networks import until
from tests.e2e.repositories import EMPTY_NOTEBOOK, Repositories

from binderops.cli.wiring import open_workspace
from binderops.target.node import NodeTarget
from binderops.target.systemd import render_unit

KILLS = int(os.environ.get("KILLS", "1"))
SEED = int(os.environ.get("KILLS_SEED", str(random.randrange(1 << 32))))
BACK = 10.0  # seconds on a quiet machine; a busy one gets twice that before the test counts as failed
LATEST_MOMENT = 5.0  # seconds from the click: a launch with a build takes about as long
LAUNCH_DEADLINE = 150.0
ORPHANS_GONE = 60.0

pytestmark = [
    *(pytest.mark.e2e, pytest.mark.podman, pytest.mark.root, pytest.mark.slow),
    pytest.mark.timeout(300 + KILLS * 120),
]


@dataclass
class Scene:
    """One deployment with a user who counts, and everything that kills need."""

    killer: Killer
    binder: Binder
    repositories: Repositories
    server: Server
    beats: Beats
    random: random.Random = field(default_factory=lambda: random.Random(SEED))
    number: int = 0


@pytest.fixture(scope="module")
def scene(deployed: Any, binder: Binder, kubectl: Any, repositories: Repositories) -> Iterator[Scene]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BINDEROPS_STATE", "BINDEROPS_RUN"):
            patch.setenv(name, deployed.environment[name])
        target = open_workspace(deployed.root, NAME).target
    assert isinstance(target, NodeTarget)
    assert (target.state, target.run) == (STATE, RUN)
    repositories.add("kills", {"index.ipynb": EMPTY_NOTEBOOK})
    server = binder.launch(git_spec(repositories.url("kills")))
    killer = Killer(kubectl, exec_start(render_unit(target.program)))
    with Beats(server, PORT) as beats:
        yield Scene(killer, binder, repositories, server, beats)
    killer.stop_servers(keep="")


@pytest.mark.parametrize("piece", PIECES)
def test_killed_during_builds_and_launches_it_comes_back(scene: Scene, piece: str) -> None:
    figures = [_kill_once(scene, piece, build=number % 2 == 0) for number in range(KILLS)]
    back = sorted(figure.back for figure in figures)
    gaps = sorted(figure.gap for figure in figures)
    ready = sum(figure.outcome == "ready" for figure in figures)
    print(
        f"\n{piece}: n={KILLS} seed={SEED} back p50={back[len(back) // 2]:.1f} max={back[-1]:.1f} s; "
        f"longest silence of the kernel p50={gaps[len(gaps) // 2]:.2f} max={gaps[-1]:.2f} s; "
        f"launches ready={ready} failed={[figure.why for figure in figures if figure.outcome != 'ready']}",
        flush=True,
    )
    deadline = time.monotonic() + ORPHANS_GONE
    while left := scene.killer.leftovers(keep=scene.server.user):
        assert time.monotonic() < deadline, f"after {ORPHANS_GONE:.0f} s: {left}"
        threading.Event().wait(1)


@dataclass(frozen=True)
class Figure:
    """What one kill did: seconds until all was back, the kernel's longest silence, the launch's end."""

    back: float
    gap: float
    outcome: str
    why: str


def _kill_once(scene: Scene, piece: str, *, build: bool) -> Figure:
    scene.killer.renew(piece)
    scene.beats.wait_for_next()
    scene.number += 1
    if build:
        # No two of its kind: an environment file of its own, so that a pod builds it.
        files = {"requirements.txt": f"# {scene.number} {scene.random.random()}\n"}
        scene.repositories.commit("kills", files)
    connections, first = scene.beats.connections, len(scene.beats.heard) - 1
    with ThreadPoolExecutor(1) as pool:
        launch = pool.submit(follow, scene.binder, git_spec(scene.repositories.url("kills"), "main"))
        threading.Event().wait(scene.random.uniform(0, LATEST_MOMENT))  # the random moment
        killed = time.monotonic()
        returned = scene.killer.kill(piece)
        until(returned, f"{piece} to be back", timeout=2 * BACK)
        back = time.monotonic() - killed
        last = _ended(launch)
    scene.beats.wait_for_next()
    heard = scene.beats.heard[first:]
    gap = max(after - before for (before, _), (after, _) in itertools.pairwise(heard))
    _assert_no_missed_beat(scene, piece, [number for _, number in heard], connections)
    outcome, why = str(last.get("phase")), str(last.get("message"))
    assert outcome in {"ready", "failed"}
    if outcome == "failed":
        assert len(why.strip()) > 10 and "Traceback" not in why, f"a failure says what happened: {last}"
        last = follow(scene.binder, git_spec(scene.repositories.url("kills"), "main"))
        assert last.get("phase") == "ready", f"tried again it works: {last}"
    assert Server(last["url"], last["token"]).get("api/status")["kernels"] == 0
    scene.killer.stop_servers(keep=scene.server.user)
    return Figure(back, gap, outcome, why)


def _assert_no_missed_beat(scene: Scene, piece: str, numbers: list[int], connections: int) -> None:
    if piece in ON_THE_PATH:
        assert numbers == sorted(set(numbers)), "the same kernel goes on"
        return
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "the kernel missed a beat"
    assert scene.beats.connections == connections, "its connection held"


def _ended(launch: Future[Event]) -> Event:
    return launch.result(timeout=LAUNCH_DEADLINE)


def follow(binder: Binder, spec: str) -> Event:
    """The last event of a launch, as a page gets it: whose stream breaks off, asks again."""
    deadline = time.monotonic() + LAUNCH_DEADLINE
    events: list[Event] = []
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError, AssertionError):
            for event in binder.stream(spec):
                events.append(event)
                if event.get("phase") in {"ready", "failed"}:
                    return event
        threading.Event().wait(1)  # as long as an EventSource waits
    raise AssertionError(f"no end of the launch after {LAUNCH_DEADLINE} s: {text_of(events)[-2000:]}")
