from __future__ import annotations

import asyncio
import gc
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.disks import fill, fill_but, small_disk

from binderops.errors import StoreFailedError
from binderops.node.store import (
    AlreadyStoredError,
    ExpiredVersionError,
    StaleRecordError,
    Store,
)
from binderops.node.store.database import RESERVE_BYTES
from binderops.node.store.records import Record
from binderops.node.store.watching import BACKLOG, HISTORY, HISTORY_BYTES


def fields_of(resource: str, obj: dict[str, Any]) -> dict[str, str]:
    return {"color": obj.get("color", "")}


def thing(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n"}, **more}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "store.sqlite", fields_of=fields_of)
    yield opened
    await opened.close()


async def reopened(store: Store, path: Path) -> Store:
    await store.close()
    return Store(path, fields_of=fields_of)


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = Store(path, fields_of=fields_of)
    first = await store.create("things", thing("a", color="red"))
    second = await store.update({**first.object(), "color": "blue"}, previous=first)
    gone = await store.create("things", thing("b"))
    await store.delete(gone)
    assert [r.version for r in (first, second, gone)] == [1, 2, 3]
    again = await reopened(store, path)
    try:
        found = again.get("things", "n", "a")
        assert found is not None and found.object() == second.object()
        assert found.fields == {"color": "blue"}
        assert again.get("things", "n", "b") is None
        assert again.version == 4
        assert (await again.create("things", thing("c"))).version == 5
    finally:
        await again.close()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_names_are_taken_once_and_stale_writes_refused(store: Store) -> None:
    first = await store.create("things", thing("a"))
    with pytest.raises(AlreadyStoredError):
        await store.create("things", thing("a"))
    await store.update(first.object(), previous=first)
    for write in (store.update(first.object(), previous=first), store.delete(first)):
        with pytest.raises(StaleRecordError):
            await write


async def test_readers_see_only_what_is_durable_and_writers_what_is_under_way(store: Store) -> None:
    writing = asyncio.create_task(store.create("things", thing("a")))
    await asyncio.sleep(0)
    latest = store.latest("things", "n", "a")
    assert latest is not None and store.get("things", "n", "a") is None
    changed = asyncio.create_task(store.update({**latest.object(), "color": "red"}, previous=latest))
    await asyncio.gather(writing, changed)
    found = store.get("things", "n", "a")
    assert found is not None and found.object()["color"] == "red"


async def test_a_full_disk_fails_what_is_under_way_and_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = Store(path, fields_of=fields_of)
    kept = await store.create("things", thing("kept"))
    connection: sqlite3.Connection = store._database._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + 2}")
    results = await asyncio.gather(
        *(store.create("things", thing(f"big{number}", text="x" * 50_000)) for number in range(4)),
        return_exceptions=True,
    )
    assert all(isinstance(result, StoreFailedError) for result in results)
    assert [record.name for record in store.records("things")] == ["kept"]
    assert store.latest("things", "n", "big0") is None
    connection.execute("PRAGMA max_page_count=1000000")
    await store.update({**kept.object(), "color": "red"}, previous=kept)
    again = await reopened(store, path)
    assert [(record.name, record.fields["color"]) for record in again.records("things")] == [("kept", "red")]
    await again.close()


async def test_a_second_process_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreFailedError, match="another process"):
        Store(tmp_path / "store.sqlite", fields_of=fields_of)


KILLED = """
import asyncio, sys
from pathlib import Path
from binderops.node.store import Store

async def main():
    store = Store(Path(sys.argv[1]), fields_of=lambda *_: {})
    async def write(number):
        await store.create("things", {"metadata": {"name": f"t{number}"}})
        print(number, flush=True)
    await asyncio.gather(*(write(number) for number in range(5000)))

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(300)]
    os.kill(process.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    process.wait(timeout=10)
    store = Store(path, fields_of=fields_of)
    names = {record.name for record in store.records("things")}
    assert {f"t{number}" for number in acknowledged} <= names
    assert store.version >= len(names)
    await store.close()


async def test_histories_are_bounded(store: Store) -> None:
    record = await store.create("things", thing("a"))
    for _ in range(HISTORY + 10):
        record = await store.update(record.object(), previous=record)
    with pytest.raises(ExpiredVersionError):
        store.watch("things", lambda _: True, since=1)
    watcher = store.watch("things", lambda _: True, since=record.version - 5)
    assert [event.record.version for event in await watcher.wait(1)] == list(
        range(record.version - 4, record.version + 1)
    )
    watcher.close()


async def test_histories_are_bounded_by_bytes_those_of_what_was_deleted_too(store: Store) -> None:
    records = [await store.create("large", thing(str(number), text="x" * 20_000)) for number in range(150)]
    for record in records:
        await store.delete(record)
    del records, record
    kept = [len(each.body) for each in gc.get_objects() if isinstance(each, Record) and each.resource == "large"]
    assert HISTORY_BYTES / 2 < sum(kept) <= HISTORY_BYTES


async def test_a_watcher_that_lags_is_closed(store: Store) -> None:
    watcher = store.watch("things", lambda _: True, since=0)
    other = store.watch("others", lambda _: True, since=0)
    record = await store.create("things", thing("a"))
    for _ in range(BACKLOG // 256 + 1):
        for _ in range(256):
            pending = asyncio.ensure_future(store.update(record.object(), previous=record))
            await asyncio.sleep(0)
            latest = store.latest("things", "n", "a")
            assert latest is not None
            record = latest
        await pending
    assert watcher.closed.is_set() and not other.closed.is_set()
    assert await watcher.wait(1) == []


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["red", "blue", "gone"])), max_size=30)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, since=st.integers(0, 30))
async def test_a_selected_watch_replayed_gives_the_selected_list(tmp_path: Path, steps: Any, since: int) -> None:
    """Whoever lists at a version and applies the watch from there holds what a list gives now."""
    path = tmp_path / f"{os.urandom(6).hex()}.sqlite"
    store = Store(path, fields_of=fields_of)

    def matches(record: Any) -> bool:
        return bool(record.fields["color"] == "red")

    held: dict[str, int] = {}
    listed = 0
    for number, (name, color) in enumerate(steps):
        if number == since:
            held = {record.name: record.version for record in store.records("things") if matches(record)}
            listed = store.version
        record = store.latest("things", "n", name)
        if color == "gone":
            if record is not None:
                await store.delete(record)
        elif record is None:
            await store.create("things", thing(name, color=color))
        else:
            await store.update({**record.object(), "color": color}, previous=record)
    watcher = store.watch("things", matches, since=listed)
    for event in await watcher.wait(0.001):
        if event.type == "DELETED":
            assert event.record.name in held
            del held[event.record.name]
        else:
            assert (event.type == "ADDED") == (event.record.name not in held)
            held[event.record.name] = event.record.version
    assert held == {record.name: record.version for record in store.records("things") if matches(record)}
    await store.close()


@pytest.mark.root
async def test_on_a_full_disk_what_is_there_can_still_be_changed_and_deleted(tmp_path: Path) -> None:
    """Whoever wants to make room deletes something; pods' statuses go on being told."""
    with small_disk(tmp_path, 16 << 20) as disk:
        path = disk / "store.sqlite"
        store = Store(path, fields_of=fields_of)
        try:
            records = [await store.create("things", thing(f"t{n:02}", text="x" * 3000)) for n in range(20)]
            files = [path, path.with_name("store.sqlite-wal")]
            async with asyncio.timeout(20):
                while any(file.stat().st_size < RESERVE_BYTES for file in files):
                    await asyncio.sleep(0.05)
            records.append(await store.create("things", thing("t20", text="x" * 3000)))
            fill(disk / "filler")
            for turn in range(30):
                for number, record in enumerate(records):
                    changed = record.object() | {"text": str(turn % 10) * 3000}
                    records[number] = await store.update(changed, previous=record)
            await store.delete(records.pop())
            with pytest.raises(StoreFailedError, match="disk is full"):
                await store.create("things", thing("large", text="x" * 8_000_000))
            await store.delete(records.pop())
        finally:
            await store.close()
        (disk / "filler").unlink()
        store = Store(path, fields_of=fields_of)
        try:
            assert [each.object() for each in store.records("things")] == [each.object() for each in records]
        finally:
            await store.close()


@pytest.mark.root
async def test_a_store_on_a_disk_without_room_for_its_reserve_works_without(tmp_path: Path) -> None:
    with small_disk(tmp_path, 16 << 20) as disk:
        fill_but(disk / "filler", RESERVE_BYTES)
        store = Store(disk / "store.sqlite", fields_of=fields_of)
        try:
            await store.create("things", thing("a"))
            assert store._database.reserve() is False
            await store.create("things", thing("b"))
        finally:
            await store.close()
