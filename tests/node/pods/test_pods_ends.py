"""How a container's end is taken over: never told without its last words."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from binderops.node.pods import cgroups, starting
from binderops.node.pods.containers import Containers
from binderops.node.pods.kit import Kit
from binderops.node.pods.records import Record, record_of
from binderops.node.pods.sandbox import Sandbox
from binderops.node.pods.status import View
from binderops.node.pods.units import Unit

POD = {"metadata": {"name": "brief", "namespace": "default", "uid": "5e2f0000"}, "spec": {"containers": []}}
RUNNING = record_of({"Id": "a1", "State": {"Status": "running"}})
ANSWER = {"Id": "a1", "State": {"Status": "exited", "ExitCode": 3}}


class Slowly(Containers):
    """Whose last words take as long to read as the test wants: `reading` and `read` are set at either end."""

    def __init__(self) -> None:
        async def inspect(identity: str) -> dict[str, Any]:
            return ANSWER

        podman = SimpleNamespace(containers=SimpleNamespace(inspect=inspect))
        kit = SimpleNamespace(podman=podman, config=SimpleNamespace(name="test"))
        super().__init__(cast(Kit, kit), lambda: POD, lambda: None, lambda work: work.close())
        self.reading, self.read = threading.Event(), threading.Event()

    def last_words(self, view: View, record: Record) -> str:
        self.reading.set()
        assert self.read.wait(10)
        return "last words"


@pytest.mark.parametrize("way", ["at once", "later"])
async def test_an_end_is_never_told_without_its_last_words(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is made of the view at any moment: also while the message is read, of what ended at its start, too."""

    async def start(*_: object, **__: object) -> Record:
        return record_of(ANSWER)

    monkeypatch.setattr(starting, "start", start)
    monkeypatch.setattr(cgroups, "oom_kills", lambda *_: 0)
    room = Slowly()
    unit = Unit(View({"name": "main"}, "app"))
    if way == "at once":
        work = asyncio.create_task(room.start(unit, cast(Sandbox, SimpleNamespace(address=""))))
    else:
        unit.view.record = RUNNING
        work = asyncio.create_task(room.note_exit(unit, RUNNING))
    assert await asyncio.to_thread(room.reading.wait, 10)
    assert unit.view.record is (None if way == "at once" else RUNNING)
    room.read.set()
    await work
    assert unit.view.record is not None
    assert (unit.view.record.state, unit.view.record.exit_code, unit.view.message) == ("exited", 3, "last words")
