"""Many launches, and what is left of them: memory, open files, the kernel's tables, objects and disk are as before.

The tests' own form is short: SHORT launches on the deployment of all journeys. `make soak` has SOAK (500), on one of
its own whose budgets are so small that all are reached (from 200 launches on). What came of it: docs/develop/soak.md.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.e2e.conftest import NAME, Deployed
from tests.e2e.killing import Killer
from tests.e2e.launches import Binder, git_spec, phases_of, text_of
from tests.e2e.networks import until
from tests.e2e.repositories import EMPTY_NOTEBOOK, Repositories
from tests.e2e.soaking import (
    LIMIT_IMAGES,
    LIMIT_REGISTRY,
    MIB,
    Day,
    Figures,
    Hub,
    Row,
    compare,
    disk,
    measure,
    nobody_left,
    registry_images,
    table_of,
)

SHORT = 12
SOAK = int(os.environ.get("SOAK") or SHORT)
SEED = int(os.environ.get("SOAK_SEED", str(random.randrange(1 << 32))))
IS_LONG = SOAK >= 200
AT_ONCE = 3
WARM_UP = 40 if IS_LONG else 4
CONTENT_BYTES = 3 * MIB
SETTLED = 330.0 if IS_LONG else 60.0  # seconds in which idle connections are closed; in the long one garbage goes, too
REST = 60  # seconds that an image is in use after its last use, in a long soak
BUDGETS_REACHED = 1800.0  # seconds until budgets that are looked at every ten minutes are kept again

pytestmark = [
    *(pytest.mark.e2e, pytest.mark.podman, pytest.mark.root, pytest.mark.slow),
    pytest.mark.timeout(600 + SOAK * 20 + (BUDGETS_REACHED if IS_LONG else 0)),
]

VALUES = f"""
  imageCleaner:
    imageGCThresholdType: absolute
    imageGCThresholdHigh: {LIMIT_REGISTRY * MIB:.0f}
    imageGCThresholdLow: {LIMIT_REGISTRY * MIB * 0.8:.0f}
    delay: 0
    extraEnv: {{IMAGE_CLEANER_REST_SECONDS: "{REST}", DOCKER_IMAGE_CLEANER_INTERVAL_SECONDS: "30"}}
"""


@dataclass
class Crowd:
    """People who launch, each look at their server for a moment, and leave."""

    binder: Binder
    repositories: Repositories
    hub: Hub
    random: random.Random = field(default_factory=lambda: random.Random(SEED))
    known: list[str] = field(default_factory=list)
    built: int = 0
    seconds: list[float] = field(default_factory=list)
    number: int = 0

    def come(self, launches: int) -> None:
        """So many launches, AT_ONCE at a time; each ends in a server, or in the failure that it must be."""
        with ThreadPoolExecutor(AT_ONCE) as people:
            for done in [people.submit(self._visit, *self._next()) for _ in range(launches)]:
                done.result()

    def _next(self) -> tuple[str, bool]:
        """What the next one launches: eight of ten an image that is known, one a new one, one new content of one.

        One in 25 is a repository whose build fails.
        """
        number, self.number = self.number, self.number + 1
        if number % 25 == 13:
            return self.repositories.add(f"broken-{number}", {"postBuild": "#!/bin/sh\nexit 7\n"}), False
        if number % 10 == 0:
            return self._new(f"soak-{number}"), True
        if number % 10 == 5:
            name = self.random.choice(self.known)
            self.repositories.commit(name, {"index.ipynb": EMPTY_NOTEBOOK.replace("{}", f'{{"n": {number}}}')})
            self.built += 1
            return self.repositories.url(name), True
        return self.repositories.url(self.random.choice(self.known)), True

    def _new(self, name: str) -> str:
        noise = self.random.randbytes(CONTENT_BYTES // 2).hex()
        url = self.repositories.add(name, {"index.ipynb": EMPTY_NOTEBOOK, "noise.txt": noise})
        self.known.append(name)
        self.built += 1
        return url

    def _visit(self, url: str, works: bool) -> None:
        started = time.monotonic()
        events = list(self.binder.stream(git_spec(url)))
        if not works:
            assert phases_of(events)[-1] == "failed", text_of(events)
            return
        assert phases_of(events)[-1] == "ready", text_of(events)
        self.seconds.append(time.monotonic() - started)
        self.hub.end(events[-1]["url"].rstrip("/").rsplit("/", 1)[-1])


@pytest.fixture(scope="module")
def budgets(deployed: Deployed) -> Iterator[None]:
    """For a long soak: so small that they are reached."""
    if IS_LONG:
        layer, project = deployed.root / "config/e2e.yaml", deployed.root / "binderops.yaml"
        layer.write_text(layer.read_text().replace("\nbinderhub:\n", f"\nbinderhub:{VALUES}", 1))
        project.write_text(
            project.read_text().replace(f"{{name: {NAME},", f"{{name: {NAME}, imageBudget: {LIMIT_IMAGES * 0.9:.0f}Mi,")
        )
        done = deployed.run("up", NAME, timeout=600)
        assert done.returncode == 0, done.stderr
    yield


@pytest.mark.usefixtures("budgets")
def test_it_ends_where_it_began(deployed: Deployed, binder: Binder, kubectl: Any, repositories: Repositories) -> None:
    crowd = Crowd(binder, repositories, Hub(kubectl))
    crowd.come(WARM_UP)
    nobody_left(kubectl)
    before, built, started = measure(kubectl), crowd.built, time.monotonic()
    crowd.come(SOAK)
    took = time.monotonic() - started
    nobody_left(kubectl)
    day = Day(SOAK, crowd.built - built, IS_LONG)
    if IS_LONG:
        _budgets_are_kept()
    rows = _settled(kubectl, before, day)
    seconds = sorted(crowd.seconds)
    print(
        f"\n{SOAK} launches after {WARM_UP} in {took / 60:.1f} minutes, {AT_ONCE} at a time, {day.builds} new images "
        f"(seed {SEED}), {registry_images()} images left in the registry; "
        f"to a server in {seconds[len(seconds) // 2]:.1f} s (median)\n\n{table_of(rows)}"
    )
    if IS_LONG:
        assert registry_images() < crowd.built, "so much was built that images had to go"
    assert Killer(kubectl, []).leftovers(keep="nobody") == []
    assert [f"{row.what} of {row.name}: {row.before} -> {row.after}" for row in rows if not row.is_kept] == []


def _settled(kubectl: Any, before: Figures, day: Day) -> list[Row]:
    """What is left; looked at again while it is too much: a leak stays, however long one waits."""
    deadline = time.monotonic() + SETTLED
    while True:
        rows = compare(before, measure(kubectl), day)
        if all(row.is_kept for row in rows) or time.monotonic() > deadline:
            return rows
        time.sleep(2)


def _budgets_are_kept() -> None:
    def are_kept() -> bool:
        held = disk()
        return held["volume registry"] <= LIMIT_REGISTRY and held["image store"] <= LIMIT_IMAGES

    until(are_kept, "the budgets to be kept", timeout=BUDGETS_REACHED)
