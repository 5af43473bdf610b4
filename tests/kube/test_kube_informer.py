"""Informers: they follow the API through relists, gaps and our own writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from binderops.kube.client import Client
from binderops.kube.informer import Informer
from binderops.kube.kinds import POD

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


def pod(name: str, version: int, uid: str = "", **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "x", "uid": uid or name, "resourceVersion": str(version), "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "managedFields": [{}]}}


def pods(version: int, *items: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "items": list(items)}


def gone() -> dict[str, Any]:
    return {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}}


@asynccontextmanager
async def running(informer: Informer) -> AsyncIterator[list[tuple[str, str]]]:
    seen: list[tuple[str, str]] = []
    informer.subscribe(lambda event, new, _old: seen.append((event, new["metadata"]["name"])))
    task = asyncio.create_task(informer.run())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_list_then_watch(client: Client, script: Any, eventually: Eventually) -> None:
    script.lists = [pods(5, pod("a", 3))]
    script.watches.put_nowait(
        [
            {"type": "ADDED", "object": pod("b", 6)},
            {"type": "MODIFIED", "object": pod("a", 7)},
            {"type": "DELETED", "object": pod("b", 8)},
            {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "20"}}},
        ]
    )
    async with running(Informer(client, POD)) as seen:
        await eventually(lambda: len(script.requests) >= 3)
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    assert script.requests[1][2]["resourceVersion"] == "5"
    assert script.requests[2][2]["resourceVersion"] == "20", "the next watch goes on from the bookmark"


async def test_a_relist_reports_what_was_missed(client: Client, script: Any, eventually: Eventually) -> None:
    script.lists = [
        pods(5, pod("a", 3), pod("b", 4), pod("c", 5)),
        pods(9, pod("b", 8), pod("c", 9, uid="new"), pod("d", 7)),
    ]
    script.watches.put_nowait([gone()])
    informer = Informer(client, POD)
    async with running(informer) as seen:
        await eventually(lambda: ("ADDED", "d") in seen)
    assert seen[3:] == [("DELETED", "a"), ("MODIFIED", "b"), ("DELETED", "c"), ("ADDED", "c"), ("ADDED", "d")]
    assert informer.objects["x", "b"]["metadata"].get("managedFields") is None


async def test_what_was_written_is_read(client: Client, script: Any, eventually: Eventually) -> None:
    script.lists = [pods(5)]
    informer = Informer(client, POD)
    async with running(informer) as seen:
        await informer.synced.wait()
        informer.observe(pod("a", 7))
        informer.observe(pod("late", 4))  # the watch is further: this may be gone already
        script.watches.put_nowait(
            [
                {"type": "ADDED", "object": pod("a", 7)},
                {"type": "MODIFIED", "object": pod("a", 6)},  # behind what is known
                {"type": "DELETED", "object": pod("a", 8, uid="another")},
                {"type": "MODIFIED", "object": pod("a", 9)},
            ]
        )
        await eventually(lambda: ("MODIFIED", "a") in seen)
    assert seen == [("ADDED", "a"), ("MODIFIED", "a")]


async def test_another_store_replaces_everything(client: Client, script: Any, eventually: Eventually) -> None:
    script.lists = [pods(50, pod("a", 40)), pods(3, pod("a", 2))]
    script.watches.put_nowait([gone()])
    informer = Informer(client, POD)
    async with running(informer) as seen:
        await eventually(lambda: len(seen) >= 3)
    assert seen == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]
    assert informer.objects["x", "a"]["metadata"]["resourceVersion"] == "2"


async def test_an_index_follows(client: Client, script: Any, eventually: Eventually) -> None:
    script.lists = [pods(5, pod("a", 3, app="hub"), pod("b", 4, app="hub"))]
    script.watches.put_nowait(
        [
            {"type": "MODIFIED", "object": pod("a", 6, app="proxy")},
            {"type": "DELETED", "object": pod("b", 7, app="hub")},
        ]
    )
    informer = Informer(client, POD)
    index = informer.add_index(lambda obj: [obj["metadata"]["labels"]["app"]])
    async with running(informer) as seen:
        await eventually(lambda: ("DELETED", "b") in seen)
    assert [obj["metadata"]["name"] for obj in index.get("proxy")] == ["a"]
    assert index.get("hub") == []


async def test_an_api_that_refuses_is_not_hammered(client: Client, script: Any) -> None:
    script.answers["GET", "/api/v1/pods"] = (500, {"kind": "Status", "code": 500, "message": "no"})
    async with running(Informer(client, POD)):
        await asyncio.sleep(1.0)
    assert 2 <= len(script.requests) <= 5


async def test_one_readers_mistake_does_not_stop_the_others(client: Client, script: Any) -> None:
    script.lists = [pods(5, pod("a", 3))]
    informer = Informer(client, POD)

    def broken(*_: Any) -> None:
        raise RuntimeError("a mistake")

    informer.subscribe(broken)
    async with running(informer) as seen:
        async with asyncio.timeout(5):
            await informer.synced.wait()
    assert seen == [("ADDED", "a")]


@pytest.mark.parametrize("late", [False, True])
async def test_a_late_subscriber_hears_of_all(client: Client, script: Any, late: bool) -> None:
    script.lists = [pods(5, pod("a", 3))]
    informer = Informer(client, POD)
    heard: list[str] = []
    if not late:
        informer.subscribe(lambda event, _new, _old: heard.append(event))
    async with running(informer):
        async with asyncio.timeout(5):
            await informer.synced.wait()
        if late:
            informer.subscribe(lambda event, _new, _old: heard.append(event))
    assert heard == ["ADDED"]
