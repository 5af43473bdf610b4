"""The node's own program on a disk that fills up or turns read-only: named, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.disks import fail, fill, repair, small_disk
from tests.node_api import Api, RunningApi

from binderops.node.store.database import RESERVE_BYTES

pytestmark = pytest.mark.root

PATH = "/api/v1/namespaces/default/configmaps"
EVENTS = "/api/v1/namespaces/default/events"
SIZE = 24 << 20
BULK = "x" * 500_000


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB for a node's state."""
    with small_disk(tmp_path, SIZE) as folder:
        yield folder


@pytest.mark.parametrize("disaster", ["full", "read-only"])
async def test_a_disk_that_takes_no_more_is_named_and_nothing_acknowledged_is_lost(small: Path, disaster: str) -> None:
    running = RunningApi(small)
    running.start()
    try:
        async with running.session() as session:
            api = Api(running, session)
            acknowledged = [(await api.create(PATH, _object("first")))["metadata"]["name"]]
            if disaster == "full":
                refused = await _fill(api, acknowledged)
            else:
                fail(small)
                refused = await api.ask("POST", PATH, _object("refused"))
            code, status = refused
            assert code == 500, status
            assert status["kind"] == "Status" and status["status"] == "Failure"
            assert any(word in status["message"] for word in ("disk is full", "readonly", "disk I/O", "read-only")), (
                status
            )
            # What it has it still answers with.
            listed = {item["metadata"]["name"] for item in (await api.get(PATH))["items"]}
            assert set(acknowledged) <= listed
            assert status["details"].get("name") not in listed
            if disaster == "full":
                assert (await api.ask("DELETE", f"{PATH}/{acknowledged.pop(0)}"))[0] in {200, 500}
    finally:
        running.stop(signal.SIGKILL)
    if disaster == "read-only":
        repair(small)
    else:
        (small / "filler").unlink()
    running.start()
    try:
        async with running.session() as session:
            api = Api(running, session)
            listed = {item["metadata"]["name"] for item in (await api.get(PATH))["items"]}
            assert set(acknowledged) <= listed
            assert (await api.create(PATH, _object("afterwards")))["metadata"]["name"] == "afterwards"
    finally:
        running.stop()


async def test_a_node_starts_on_a_disk_without_a_byte_and_an_event_that_cannot_go_takes_nothing_along(
    small: Path, tmp_path: Path
) -> None:
    running = RunningApi(small, aside=tmp_path)
    running.start()
    try:
        async with running.session() as session:
            api = Api(running, session)
            await api.create(PATH, _object("first"))
            await api.create(EVENTS, _event("old"))
    finally:
        running.stop()
    _age(running.config.store, "old")
    fill(small / "filler")
    running.start()
    try:
        async with running.session() as session:
            api = Api(running, session)
            await _until(lambda: "an Event cannot be removed" in running.log(), "word of the Event", running)
            assert [item["metadata"]["name"] for item in (await api.get(PATH))["items"]][-1] == "first"
            assert [item["metadata"]["name"] for item in (await api.get(EVENTS))["items"]] == ["old"]
            code, status = await api.ask("POST", PATH, _object("refused"))
            assert (code, "disk is full" in status["message"]) == (500, True), status
            (small / "filler").unlink()
            assert (await api.create(PATH, _object("afterwards")))["metadata"]["name"] == "afterwards"
        assert "a room stopped" not in running.log() and "the API stopped" not in running.log()
    finally:
        running.stop()
    # The next sweep takes it; the first one after a start is at once.
    running.start()
    try:
        async with running.session() as session:
            gone = Api(running, session)
            async with asyncio.timeout(10):
                while (await gone.get(EVENTS))["items"]:
                    await asyncio.sleep(0.05)
    finally:
        running.stop()


async def test_while_the_disk_is_full_a_node_deletes_and_changes_what_it_has(small: Path, tmp_path: Path) -> None:
    running = RunningApi(small, aside=tmp_path)
    running.start()
    try:
        async with running.session() as session:
            api = Api(running, session)
            for name in ("first", "second"):
                await api.create(PATH, _object(name))
            files = [running.config.store, running.config.store.with_name("store.sqlite-wal")]
            await _until(lambda: all(f.stat().st_size >= RESERVE_BYTES for f in files), "reserve of the store", running)
            fill(small / "filler")
            for number in range(200):
                code, answer = await api.ask("PUT", f"{PATH}/first", _object("first", f"{number}" * 1000))
                assert code == 200, answer
            assert (await api.ask("DELETE", f"{PATH}/second"))[0] == 200
            for number in range(5):
                code, status = await api.ask("POST", PATH, _object(f"large-{number}", BULK))
                if code != 201:
                    break
            assert (code, "disk is full" in status["message"]) == (500, True), status
            assert (await api.ask("DELETE", f"{PATH}/first"))[0] == 200
    finally:
        running.stop()


def test_a_node_that_finds_a_read_only_disk_says_so(small: Path, tmp_path: Path) -> None:
    running = RunningApi(small, aside=tmp_path)
    running.start()
    running.stop(signal.SIGKILL)
    fail(small)
    command = [sys.executable, "-m", "binderops.node", "--state", str(small), "--name", running.name, "--api-only"]
    told = subprocess.run(command, env=running.environment, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    assert told.returncode == 1
    assert "the node cannot start" in told.stderr and "Read-only file system" in told.stderr, told.stderr
    assert str(small) in told.stderr and "Traceback" not in told.stderr


async def _fill(api: Api, acknowledged: list[str]) -> tuple[int, dict[str, Any]]:
    """Somebody else's file takes nearly all; then objects until one is refused."""
    with (api.running.root / "filler").open("wb") as filler:
        filler.write(b"\0" * (8 << 20))
    for number in range(100):
        code, answer = await api.ask("POST", PATH, _object(f"bulk-{number}", BULK))
        if code != 201:
            return code, answer
        acknowledged.append(f"bulk-{number}")
    raise AssertionError("the disk was never full")


def _age(store: Path, name: str) -> None:
    """Make an Event two hours old in the file of a node that does not run: the API's own clock dates what it takes."""
    old = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 7200))
    connection = sqlite3.connect(store)
    with connection:
        [(body,)] = connection.execute("SELECT body FROM objects WHERE resource = 'events' AND name = ?", (name,))
        event = json.loads(body)
        event["metadata"]["creationTimestamp"] = old
        event |= {"firstTimestamp": old, "lastTimestamp": old}
        connection.execute("UPDATE objects SET body = ? WHERE name = ?", (json.dumps(event).encode(), name))
    connection.close()


async def _until(condition: Any, what: str, running: RunningApi) -> None:
    try:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"no {what}:\n{running.log()}") from None


def _object(name: str, content: str = "") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"content": content}}


def _event(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "gone"},
        "reason": "Tried",
        "message": "for a disk that takes nothing",
        "type": "Normal",
    }
