"""kill -9 at random moments of builds and launches: nothing that is not on its path notices, and all comes back.

Here each piece once, with the patience that a busy machine needs; `make kills` does it until KILLS (30) of each fell
into launches, on a machine that does nothing else: there a bar that is missed fails.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from tests.e2e.beats import Beats
from tests.e2e.conftest import NAME, PORT, RUN, STATE, UP_DEADLINE
from tests.e2e.killing import Killer, exec_start
from tests.e2e.kills import ON_THE_PATH, PATIENCE, PIECES, PROMISED, Kill, Report
from tests.e2e.launches import Binder, Event, Server, git_spec, text_of
from tests.e2e.networks import until
from tests.e2e.repositories import EMPTY_NOTEBOOK, Repositories

from binderops.cli.wiring import open_workspace
from binderops.target.node import NodeTarget
from binderops.target.systemd import render_unit

IS_LONG = "KILLS" in os.environ
KILLS = int(os.environ.get("KILLS", "1"))
MOST_KILLS = KILLS + max(2, KILLS // 2)  # a launch may be shorter than those before: then its kill hits nothing
SEED = int(os.environ.get("KILLS_SEED", str(random.randrange(1 << 32))))
UNDISTURBED = 3 if IS_LONG else 1  # launches of each kind that tell how long one takes
WITHIN = 0.95  # of that length: a launch is rarely much shorter
NEVER_BACK = 60.0 if IS_LONG else PATIENCE.back  # seconds; the long form goes on after a miss, and tells all figures
LAUNCH_DEADLINE = 150.0
ORPHANS_GONE = 60.0

pytestmark = [
    *(pytest.mark.e2e, pytest.mark.podman, pytest.mark.root, pytest.mark.slow),
    pytest.mark.timeout(UP_DEADLINE + MOST_KILLS * 120),
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
    lengths: dict[bool, list[float]] = field(default_factory=dict)

    def spec(self, *, build: bool) -> str:
        """What is launched next: an image to build, or one that is known."""
        if build:
            # No two of its kind: an environment file of its own, so that a pod builds it.
            self.number += 1
            files = {"requirements.txt": f"# {self.number} {self.random.random()}\n"}
            self.repositories.commit("kills", files)
        return git_spec(self.repositories.url("kills"), "main")

    def length(self, *, build: bool) -> float:
        """Seconds that such a launch takes, from its click to its end, when nothing is killed: the (lower) median."""
        if build not in self.lengths:
            self.lengths[build] = [self._undisturbed(build=build) for _ in range(UNDISTURBED)]
        return statistics.median_low(self.lengths[build])

    def _undisturbed(self, *, build: bool) -> float:
        last, seconds = _timed(self.binder, self.spec(build=build))
        assert last.get("phase") == "ready", last
        self.killer.stop_servers(keep=self.server.user)
        return seconds


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
    report = Report(piece, SEED, KILLS, PROMISED if IS_LONG else PATIENCE)
    if IS_LONG:
        scene.lengths.clear()  # the machine may be another than an hour ago
    try:
        while report.in_flight < KILLS and len(report.kills) < MOST_KILLS:
            report.kills.append(_kill_once(scene, piece, build=report.in_flight % 2 == 0))
        report.leftovers = _left(scene)
    except BaseException as error:
        report.broken_off = str(error)
        raise
    finally:
        report.show(write=IS_LONG)  # one kill says too little for a page
    assert report.faults() == []


def _left(scene: Scene) -> list[str]:
    """What belongs to nobody, once it had its time to go."""
    deadline = time.monotonic() + ORPHANS_GONE
    while (left := scene.killer.leftovers(keep=scene.server.user)) and time.monotonic() < deadline:
        threading.Event().wait(1)
    return left


def _kill_once(scene: Scene, piece: str, *, build: bool) -> Kill:
    scene.killer.renew(piece)
    length = scene.length(build=build)
    moment = scene.random.uniform(0, WITHIN * length)
    scene.beats.wait_for_next()
    spec = scene.spec(build=build)
    # Looked for before the click: a launch of a known image is over before kubectl has answered twice.
    kill = scene.killer.aim(piece)
    connections, first = scene.beats.connections, len(scene.beats.heard) - 1
    with ThreadPoolExecutor(1) as pool:
        launch = pool.submit(_timed, scene.binder, spec)
        threading.Event().wait(moment)
        in_flight, killed = not launch.done(), time.monotonic()
        until(kill(), f"{piece} to be back", timeout=NEVER_BACK)
        back = time.monotonic() - killed
        last, seconds = launch.result(timeout=LAUNCH_DEADLINE)
    if not in_flight:
        scene.lengths[build].append(seconds)  # it was not disturbed either
    scene.beats.wait_for_next()
    heard = scene.beats.heard[first:]
    silence = max(after - before for (before, _), (after, _) in itertools.pairwise(heard))
    _assert_no_missed_beat(scene, piece, [number for _, number in heard], connections)
    outcome, why = str(last.get("phase")), str(last.get("message"))
    assert outcome in {"ready", "failed"}
    if outcome == "failed":
        assert len(why.strip()) > 10 and "Traceback" not in why, f"a failure says what happened: {last}"
        last = follow(scene.binder, git_spec(scene.repositories.url("kills"), "main"))
        assert last.get("phase") == "ready", f"tried again it works: {last}"
    assert Server(last["url"], last["token"]).get("api/status")["kernels"] == 0
    scene.killer.stop_servers(keep=scene.server.user)
    return Kill(build, length, moment, in_flight, back, silence, outcome, why)


def _assert_no_missed_beat(scene: Scene, piece: str, numbers: list[int], connections: int) -> None:
    """Nothing was lost. How late it came is the silence's: TCP brings all numbers as long as its connection holds."""
    if piece in ON_THE_PATH:
        assert numbers == sorted(set(numbers)), "the same kernel goes on"
        return
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "the kernel missed a beat"
    assert scene.beats.connections == connections, "its connection held"


def _timed(binder: Binder, spec: str) -> tuple[Event, float]:
    """The last event of a launch, and the seconds until it came."""
    began = time.monotonic()
    return follow(binder, spec), time.monotonic() - began


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
