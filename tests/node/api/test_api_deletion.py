from __future__ import annotations

from typing import Any

import pytest

MERGE = "application/merge-patch+json"
CONFIG_MAP = {"metadata": {"name": "a"}}


def pod(name: str = "p", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **more}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}


async def bound(api: Any, namespace: str, name: str = "p", **more: Any) -> str:
    """A pod that is bound to a node; its path."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    await api.create(path, pod(name, **more))
    code, _ = await api.ask("POST", f"{path}/{name}/binding", {"target": {"kind": "Node", "name": "n"}})
    assert code == 201
    return f"{path}/{name}"


async def test_a_pod_that_runs_nowhere_goes_at_once(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    await api.create(path, pod())
    code, answer = await api.ask("DELETE", f"{path}/p")
    assert (code, answer["kind"]) == (200, "Pod")
    assert (await api.ask("GET", f"{path}/p"))[0] == 404


async def test_a_bound_pod_goes_in_two_steps(api: Any, namespace: str) -> None:
    path = await bound(api, namespace)
    code, going = await api.ask("DELETE", path)
    assert (code, going["metadata"]["deletionGracePeriodSeconds"]) == (200, 30)
    code, sooner = await api.ask("DELETE", path, {"gracePeriodSeconds": 5})
    assert (code, sooner["metadata"]["deletionGracePeriodSeconds"]) == (200, 5)
    assert sooner["metadata"]["deletionTimestamp"] < going["metadata"]["deletionTimestamp"]
    code, later = await api.ask("DELETE", f"{path}?gracePeriodSeconds=60")
    assert (code, later["metadata"]["deletionGracePeriodSeconds"]) == (200, 5)
    code, _ = await api.ask("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": "another"}})
    assert code == 409
    code, _ = await api.ask("DELETE", path, {"gracePeriodSeconds": 0})
    assert code == 200
    assert (await api.ask("GET", path))[0] == 404


async def test_a_pod_is_bound_once(api: Any, namespace: str) -> None:
    path = await bound(api, namespace)
    assert (await api.get(path))["spec"]["nodeName"] == "n"
    code, status = await api.ask("POST", f"{path}/binding", {"target": {"name": "m"}})
    assert (code, 'already assigned to node "n"' in status["message"]) == (409, True)


async def test_finalizers_hold_an_object_until_they_let_go(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    await api.create(path, {"metadata": {"name": "a", "finalizers": ["example.org/hold"]}})
    code, going = await api.ask("DELETE", f"{path}/a")
    assert (code, going["metadata"]["finalizers"]) == (200, ["example.org/hold"])
    assert going["metadata"]["deletionTimestamp"]
    code, status = await api.ask("PATCH", f"{path}/a", {"metadata": {"finalizers": ["example.org/other"]}}, media=MERGE)
    assert code in {403, 422}, status
    assert status["message"].endswith("found new finalizers example.org/other")
    code, _ = await api.ask("PATCH", f"{path}/a", {"metadata": {"finalizers": None}}, media=MERGE)
    assert code == 200
    assert (await api.ask("GET", f"{path}/a"))[0] == 404


@pytest.mark.parametrize(
    ("options", "finalizers"),
    [({"propagationPolicy": "Foreground"}, ["foregroundDeletion"]), ({"propagationPolicy": "Orphan"}, ["orphan"])],
)
async def test_propagation_is_left_to_the_collector_by_finalizers(
    api: Any, namespace: str, options: dict[str, str], finalizers: list[str]
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    await api.create(path, CONFIG_MAP)
    code, going = await api.ask("DELETE", f"{path}/a", options)
    assert (code, going["metadata"]["finalizers"]) == (200, finalizers)


async def test_jobs_keep_their_pods_unless_told_otherwise(api: Any, namespace: str) -> None:
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}
    await api.create(path, {"metadata": {"name": "j"}, "spec": {"template": template}})
    answer = await api.session.delete(f"{path}/j")
    assert answer.json()["metadata"]["finalizers"] == ["orphan"]
    assert "child pods are preserved by default" in answer.headers["warning"]


async def test_a_namespace_waits_for_its_finalizer(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    assert (await api.get(path))["spec"]["finalizers"] == ["kubernetes"]
    code, going = await api.ask("DELETE", path)
    assert (code, going["status"]["phase"]) == (200, "Terminating")
    code, status = await api.ask("POST", f"{path}/configmaps", CONFIG_MAP)
    assert (code, status["reason"]) == (403, "Forbidden")
    assert status["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    code, _ = await api.ask("PUT", path, {**going, "spec": {"finalizers": []}})
    assert (await api.get(path))["spec"]["finalizers"] == ["kubernetes"]
    code, _ = await api.ask("PUT", f"{path}/finalize", {**await api.get(path), "spec": {"finalizers": []}})
    assert code == 200
    assert (await api.ask("GET", path))[0] == 404


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_some_namespaces_stay(api: Any, name: str) -> None:
    code, status = await api.ask("DELETE", f"/api/v1/namespaces/{name}")
    assert (code, status["message"]) == (403, f'namespaces "{name}" is forbidden: this namespace may not be deleted')


async def test_a_collection_is_deleted_by_selector(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        await api.create(path, {"metadata": {"name": name, "labels": {"l": label}}})
    code, gone = await api.ask("DELETE", f"{path}?labelSelector=l=x")
    assert (code, [item["metadata"]["name"] for item in gone["items"]]) == (200, ["a", "b"])
    assert [item["metadata"]["name"] for item in (await api.get(path))["items"]] == ["c"]


async def test_eviction_respects_budgets(api: Any, namespace: str) -> None:
    path = await bound(api, namespace, labels={"app": "a"})
    await api.ask("PATCH", f"{path}/status", {"status": {"phase": "Running"}}, media=MERGE)
    budgets = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}
    await api.create(budgets, {"metadata": {"name": "b"}, "spec": spec})
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    code, status = await api.ask("POST", f"{path}/eviction", eviction)
    assert (code, status["reason"]) == (429, "TooManyRequests")
    counts = {"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}
    await api.ask("PATCH", f"{budgets}/b/status", {"status": counts}, media=MERGE)
    code, status = await api.ask("POST", f"{path}/eviction", eviction)
    assert (code, status["status"]) == (201, "Success")
    assert (await api.get(path))["metadata"]["deletionTimestamp"]
    assert (await api.get(f"{budgets}/b"))["status"]["disruptionsAllowed"] == 0
