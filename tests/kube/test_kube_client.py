"""The client: requests as the API wants them, errors by their Status, deadlines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from binderops.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    KubernetesError,
    NotFoundError,
)
from binderops.kube.client import Client
from binderops.kube.kinds import NAMESPACE, POD

POD_A = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "x", "uid": "1"}}


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (400, "BadRequest", InvalidError),
        (403, "Forbidden", ForbiddenError),
        (404, "NotFound", NotFoundError),
        (409, "Conflict", ConflictError),
        (409, "AlreadyExists", AlreadyExistsError),
        (410, "Expired", GoneError),
        (422, "Invalid", InvalidError),
        (500, "InternalError", KubernetesError),
    ],
)
async def test_errors(client: Client, script: Any, code: int, reason: str, error: type[KubernetesError]) -> None:
    body = {"kind": "Status", "code": code, "reason": reason, "message": "no", "details": {"name": "a"}}
    script.answers["GET", "/api/v1/namespaces/x/pods/a"] = (code, body)
    with pytest.raises(KubernetesError) as raised:
        await client.get(POD, "a", "x")
    assert type(raised.value) is error
    assert (raised.value.code, raised.value.reason, raised.value.what) == (code, reason, "no")
    assert raised.value.status["details"] == {"name": "a"}
    assert raised.value.where == "GET /api/v1/namespaces/x/pods/a"


async def test_an_answer_that_is_no_status_is_quoted(client: Client, script: Any) -> None:
    script.answers["GET", "/api/v1/namespaces/x/pods/a"] = (502, b"<html>bad gateway</html>")
    with pytest.raises(KubernetesError, match="bad gateway"):
        await client.get(POD, "a", "x")
    script.answers["GET", "/api/v1/namespaces/x/pods/a"] = (200, b"not json")
    with pytest.raises(KubernetesError, match="not JSON"):
        await client.get(POD, "a", "x")


async def test_writes(client: Client, script: Any) -> None:
    base = "/api/v1/namespaces/x/pods"
    for method, path in [("POST", base), ("PUT", f"{base}/a"), ("PUT", f"{base}/a/status"), ("PATCH", f"{base}/a")]:
        script.answers[method, path] = (200, POD_A)
    script.answers["PATCH", f"{base}/a/status"] = script.answers["DELETE", f"{base}/a"] = (200, POD_A)
    await client.create(POD_A)
    await client.replace(POD_A)
    await client.replace_status(POD_A)
    await client.patch(POD, "a", "x", {"a": 1})
    await client.patch(POD, "a", "x", [], how="json")
    await client.patch(POD, "a", "x", {}, how="strategic", subresource="status")
    await client.apply(POD_A, force=True)
    assert await client.delete(POD, "a", "x", grace_seconds=0, propagation="Foreground", uid="1") == POD_A
    seen = [(method, path, params, kind) for method, path, params, _, kind in script.requests]
    manager = {"fieldManager": "tests"}
    assert seen == [
        ("POST", base, manager, "application/json"),
        ("PUT", f"{base}/a", manager, "application/json"),
        ("PUT", f"{base}/a/status", manager, "application/json"),
        ("PATCH", f"{base}/a", manager, "application/merge-patch+json"),
        ("PATCH", f"{base}/a", manager, "application/json-patch+json"),
        ("PATCH", f"{base}/a/status", manager, "application/strategic-merge-patch+json"),
        ("PATCH", f"{base}/a", {**manager, "force": "true"}, "application/apply-patch+yaml"),
        ("DELETE", f"{base}/a", {}, "application/json"),
    ]
    assert json.loads(script.requests[-1][3]) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": "1"},
    }


async def test_a_namespaced_object_is_never_asked_for_without_its_namespace(client: Client) -> None:
    with pytest.raises(ValueError, match="needs a namespace"):
        await client.delete(POD, "a")


async def test_lists_are_read_page_by_page(client: Client, script: Any) -> None:
    page = {"metadata": {"resourceVersion": "7", "continue": "next"}, "items": [{"metadata": {"name": "a"}}]}
    script.lists = [page, {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "b"}}]}]
    listed = await client.list(NAMESPACE, labels="a=b")
    assert [item["metadata"]["name"] for item in listed.items] == ["a", "b"]
    assert listed.items[0]["kind"] == "Namespace"
    assert listed.resource_version == "7"
    assert [request[2].get("continue") for request in script.requests] == [None, "next"]
    assert {request[2]["labelSelector"] for request in script.requests} == {"a=b"}


async def test_watch(client: Client, script: Any) -> None:
    late = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    half = json.dumps({"type": "ADDED", "object": POD_A}).encode()
    events = [half[:20], half[20:] + b"\n\n", {"type": "BOOKMARK", "object": POD_A}, {"type": "ERROR", "object": late}]
    script.watches.put_nowait(events)
    seen = []
    with pytest.raises(GoneError, match="too old"):
        async for event in client.watch(POD, "x", resource_version="5"):
            seen.append(event.type)
    assert seen == ["ADDED", "BOOKMARK"]
    parameters = script.requests[0][2]
    assert parameters["resourceVersion"] == "5"
    assert parameters["allowWatchBookmarks"] == "true"
    assert int(parameters["timeoutSeconds"]) >= 240


async def test_a_silent_api_is_left_at_the_deadline(client: Client) -> None:
    with pytest.raises(KubernetesError, match=r"waited 0\.2 s") as raised:
        await client.request("GET", "/silent", deadline=0.2)
    assert raised.value.reason == "Timeout"


async def test_an_unreachable_api_is_named() -> None:
    kubeconfig = {
        "current-context": "t",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "t", "context": {"cluster": "c", "user": "u"}}],
    }
    async with Client.from_kubeconfig(kubeconfig) as client:
        with pytest.raises(KubernetesError, match="cannot be reached") as raised:
            await client.get(NAMESPACE, "a")
        assert raised.value.reason == "Unreachable"


async def test_logs(client: Client, script: Any) -> None:
    script.answers["GET", "/api/v1/namespaces/x/pods/a/log"] = (200, b"one\ntwo\n")
    chunks = [chunk async for chunk in client.logs("a", "x", container="c", tail=5)]
    assert b"".join(chunks) == b"one\ntwo\n"
    assert script.requests[0][2] == {"container": "c", "tailLines": "5"}


@pytest.mark.parametrize("content", ["", "[]", "clusters: 3", "{", "current-context: x"])
def test_a_kubeconfig_that_cannot_be_used_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(KubernetesError, match="kubeconfig"):
        Client.from_kubeconfig(path)


def test_a_kubeconfig_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KubernetesError, match="kubeconfig"):
        Client.from_kubeconfig(tmp_path / "nothing")


def test_no_service_account_outside_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(KubernetesError, match="service account"):
        Client.in_cluster()


@pytest.mark.parametrize("line", [b"garbage\n", b"[]\n", b'{"type": "ADDED"}\n', b'{"type": 1, "object": {}}\n'])
async def test_a_watch_that_is_garbage_is_an_error(client: Client, script: Any, line: bytes) -> None:
    script.watches.put_nowait([line])
    with pytest.raises(KubernetesError, match="no watch event"):
        async for event in client.watch(POD, "x"):
            pytest.fail(f"not an event: {event}")
