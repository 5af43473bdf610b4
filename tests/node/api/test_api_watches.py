from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any

import pytest

MERGE = "application/merge-patch+json"


def config_map(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


def names(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


async def test_a_watch_from_a_list_repeats_what_came_between(api: Any, namespace: str, take_events: Any) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    await api.create(path, config_map("before"))
    version = (await api.get(path))["metadata"]["resourceVersion"]
    await api.create(path, config_map("a"))
    await api.ask("PATCH", f"{path}/a", {"data": {"x": "1"}}, media=MERGE)
    events = api.watch(path, resourceVersion=version)
    assert names(await take_events(events, 2)) == [("ADDED", "a"), ("MODIFIED", "a")]
    _, gone = await api.ask("DELETE", f"{path}/a")
    deleted = (await take_events(events, 1))[0]
    assert deleted["type"] == "DELETED"
    assert int(deleted["object"]["metadata"]["resourceVersion"]) > int(version)
    assert deleted["object"]["metadata"]["uid"] == gone["details"]["uid"]


async def test_a_watch_from_nowhere_begins_with_what_is_there(api: Any, namespace: str, take_events: Any) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    await api.create(path, config_map("a"))
    events = api.watch(path)
    assert names(await take_events(events, 1)) == [("ADDED", "a")]
    await api.create(path, config_map("b"))
    assert names(await take_events(events, 1)) == [("ADDED", "b")]


async def test_a_watch_list_marks_the_end_of_the_beginning(api: Any, namespace: str, take_events: Any) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    await api.create(path, config_map("a"))
    parameters = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    events = await take_events(api.watch(path, **parameters), 2)
    assert names(events) == [("ADDED", "a"), ("BOOKMARK", "")]
    metadata = events[1]["object"]["metadata"]
    assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(metadata["resourceVersion"]) >= int(events[0]["object"]["metadata"]["resourceVersion"])


async def test_selectors_turn_changes_into_arrivals_and_departures(api: Any, namespace: str, take_events: Any) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    version = (await api.get(path))["metadata"]["resourceVersion"]
    await api.create(path, config_map("a", color="red"))
    for color in ("blue", "blue", "red"):
        await api.ask("PATCH", f"{path}/a", {"metadata": {"labels": {"color": color}}, "data": {}}, media=MERGE)
    await api.ask("DELETE", f"{path}/a")
    seen = await take_events(api.watch(path, resourceVersion=version, labelSelector="color=blue"), 2)
    assert names(seen) == [("ADDED", "a"), ("DELETED", "a")]
    left = seen[1]["object"]["metadata"]
    assert (
        left["labels"]["color"],
        int(left["resourceVersion"]) > int(seen[0]["object"]["metadata"]["resourceVersion"]),
    ) == (
        "blue",
        True,
    )


async def test_field_selectors_on_pods(api: Any, namespace: str, take_events: Any) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    version = (await api.get(path))["metadata"]["resourceVersion"]
    spec = {"containers": [{"name": "c", "image": "i:1"}]}
    for name in ("p", "q"):
        await api.create(path, {"metadata": {"name": name}, "spec": spec})
    await api.ask("POST", f"{path}/p/binding", {"target": {"name": "n"}})
    await api.ask("PATCH", f"{path}/p/status", {"status": {"phase": "Running"}}, media=MERGE)
    on_node = await take_events(api.watch(path, resourceVersion=version, fieldSelector="spec.nodeName=n"), 2)
    assert names(on_node) == [("ADDED", "p"), ("MODIFIED", "p")]
    listed = await api.get(f"{path}?fieldSelector=spec.nodeName=,status.phase!=Running")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["q"]
    code, status = await api.ask("GET", f"{path}?fieldSelector=spec.colour=red")
    assert (code, "field label not supported: spec.colour" in status["message"]) == (400, True)


async def test_a_version_that_is_forgotten_is_gone(api: Any, namespace: str, take_events: Any) -> None:
    path = f"/api/v1/namespaces/{namespace}/leases".replace("/api/v1", "/apis/coordination.k8s.io/v1")
    await api.create(path, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "0"}})
    first = (await api.get(path))["metadata"]["resourceVersion"]
    for batch in range(11):
        await asyncio.gather(
            *(
                api.ask("PATCH", f"{path}/l", {"spec": {"holderIdentity": f"{batch}-{number}"}}, media=MERGE)
                for number in range(100)
            )
        )
    event = (await take_events(api.watch(path, resourceVersion=first), 1))[0]
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_a_version_of_the_future_is_refused(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for query in ("resourceVersion=999999999&resourceVersionMatch=NotOlderThan", "resourceVersion=999999999&watch=1"):
        code, status = await api.ask("GET", f"{path}?{query}")
        assert (code, status["reason"]) == (504, "Timeout")
        assert status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


@pytest.mark.parametrize(
    "query",
    [
        "watch=1&resourceVersion=x",
        "watch=1&timeoutSeconds=-1",
        "watch=1&labelSelector=a%20in",
        "watch=1&limit=a",
        "limit=--1",
        "limit=9223372036854775808",
    ],
)
async def test_watches_that_cannot_be(api: Any, namespace: str, query: str) -> None:
    code, status = await api.ask("GET", f"/api/v1/namespaces/{namespace}/pods?{query}")
    assert (code, status["kind"]) == (400, "Status")


async def test_there_is_no_exact_version_nought(api: Any, namespace: str) -> None:
    query = "resourceVersionMatch=Exact&resourceVersion=0"
    code, status = await api.ask("GET", f"/api/v1/namespaces/{namespace}/pods?{query}")
    assert (code, status["reason"]) == (422, "Invalid")


async def test_a_watch_ends_when_its_time_is_over(api: Any, namespace: str) -> None:
    async with asyncio.timeout(10):
        found = [event async for event in api.watch(f"/api/v1/namespaces/{namespace}/pods", timeoutSeconds="1")]
    assert found == []


async def test_a_client_that_does_not_read_is_cut_off_and_holds_up_nobody(
    api: Any, namespace: str, take_events: Any
) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    await api.create(path, {"metadata": {"name": "l"}})
    version = (await api.get(path))["metadata"]["resourceVersion"]
    context: ssl.SSLContext = api.running.tls("admin")
    reader, writer = await asyncio.open_connection("127.0.0.1", api.running.port, ssl=context, limit=1024)
    query = f"watch=1&resourceVersion={version}"
    writer.write(f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await writer.drain()
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    bulk = "x" * 200_000
    good = api.watch(path, resourceVersion=version, timeoutSeconds="60")
    await api.ask("PATCH", f"{path}/l", {"metadata": {"annotations": {"n": "first"}}}, media=MERGE)
    await take_events(good, 1)  # it watches from here on, whatever the history holds
    seen = 0
    for batch in range(15):
        patches = [{"metadata": {"annotations": {"n": f"{batch}-{number}{bulk}"}}} for number in range(10)]
        await asyncio.gather(*(api.ask("PATCH", f"{path}/l", patch, media=MERGE) for patch in patches))
        seen += len(await take_events(good, 10))
    assert seen == 150
    async with asyncio.timeout(20):
        with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, OSError)):
            while await reader.readexactly(65536):
                pass
    writer.transport.abort()


async def test_pages_of_a_list(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for number in range(5):
        await api.create(path, config_map(f"c{number}"))
    first = await api.get(f"{path}?limit=2")
    assert (first["metadata"]["remainingItemCount"], len(first["items"])) == (3, 2)
    second = await api.get(f"{path}?limit=2&continue={first['metadata']['continue']}")
    third = await api.get(f"{path}?limit=2&continue={second['metadata']['continue']}")
    assert "continue" not in third["metadata"]
    found = [item["metadata"]["name"] for page in (first, second, third) for item in page["items"]]
    assert found == [f"c{number}" for number in range(5)]
    assert len({page["metadata"]["resourceVersion"] for page in (first, second, third)}) == 1
    code, _ = await api.ask("GET", f"{path}?limit=2&continue=nonsense")
    assert code == 400
    for limit in ("-1", "0", "-9223372036854775808", "9223372036854775807"):
        everything = await api.get(f"{path}?limit={limit}")
        assert len(everything["items"]) == 5, "a limit that is not positive is none"
        assert "continue" not in everything["metadata"]
        rest = await api.get(f"{path}?limit={limit}&continue={first['metadata']['continue']}")
        assert [item["metadata"]["name"] for item in rest["items"]] == ["c2", "c3", "c4"]


async def test_tables_and_metadata_only(api: Any, namespace: str, take_events: Any) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    await api.create(path, {**config_map("a"), "data": {"x": "1"}})
    table = (await api.session.get(path, headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})).json()
    assert (table["kind"], table["rows"][0]["cells"][:2]) == ("Table", ["a", 1])
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    partial = (await api.session.get(path, headers={"accept": accept})).json()
    assert partial["kind"] == "PartialObjectMetadataList"
    assert "data" not in partial["items"][0] and partial["items"][0]["metadata"]["name"] == "a"
    answer = await api.session.get(path, headers={"accept": "text/html"})
    assert (answer.status_code, answer.json()["reason"]) == (406, "NotAcceptable")
    answer = await api.session.get(path, headers={"accept": "application/vnd.kubernetes.protobuf,application/json"})
    assert json.loads(answer.content)["kind"] == "ConfigMapList"
