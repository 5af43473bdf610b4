from __future__ import annotations

import asyncio
from typing import Any

import pytest

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}
APPLY = "application/apply-patch+yaml"


def deployment(name: str, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template} | spec,
    }


async def test_an_object_is_created_read_changed_and_deleted(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    made = await api.create(path, CONFIG_MAP)
    assert made["metadata"]["uid"] and made["metadata"]["creationTimestamp"].endswith("Z")
    assert made["metadata"]["namespace"] == namespace
    assert made["metadata"]["managedFields"][0]["operation"] == "Update"
    assert await api.get(f"{path}/a") == made
    code, changed = await api.ask("PUT", f"{path}/a", {**made, "data": {"x": "2"}})
    assert (code, changed["data"]) == (200, {"x": "2"})
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    code, status = await api.ask("DELETE", f"{path}/a")
    assert (code, status["status"]) == (200, "Success")
    assert status["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    code, gone = await api.ask("GET", f"{path}/a")
    assert code == 404
    assert gone == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'configmaps "a" not found',
        "reason": "NotFound",
        "details": {"name": "a", "kind": "configmaps"},
        "code": 404,
    }


async def test_a_write_that_changes_nothing_keeps_its_version(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    made = await api.create(path, CONFIG_MAP)
    code, same = await api.ask("PUT", f"{path}/a", made)
    assert (code, same["metadata"]["resourceVersion"]) == (200, made["metadata"]["resourceVersion"])
    code, same = await api.ask("PATCH", f"{path}/a", {"data": {"x": "1"}}, media="application/merge-patch+json")
    assert (code, same["metadata"]["resourceVersion"]) == (200, made["metadata"]["resourceVersion"])


async def test_stale_writes_conflict(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    made = await api.create(path, CONFIG_MAP)
    await api.ask("PUT", f"{path}/a", {**made, "data": {"x": "2"}})
    code, status = await api.ask("PUT", f"{path}/a", {**made, "data": {"x": "3"}})
    assert (code, status["reason"]) == (409, "Conflict")
    assert status["message"].startswith('Operation cannot be fulfilled on configmaps "a": the object has been modified')
    code, status = await api.ask("DELETE", f"{path}/a", {"preconditions": {"uid": "other"}})
    assert (code, status["reason"]) == (409, "Conflict")
    assert "Precondition failed: UID in precondition: other" in status["message"]


@pytest.mark.parametrize("media", ["application/merge-patch+json", "application/strategic-merge-patch+json"])
@pytest.mark.parametrize("subresource", ["", "/status"])
@pytest.mark.parametrize("key", ["uid", "resourceVersion"])
async def test_a_patch_names_the_object_that_it_means(
    api: Any, namespace: str, media: str, subresource: str, key: str
) -> None:
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses"
    spec = {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}
    made = await api.create(path, {"metadata": {"name": "a"}, "spec": spec})
    right = {"metadata": {"labels": {"a": "1"}, key: made["metadata"][key]}}
    code, _ = await api.ask("PATCH", f"{path}/a{subresource}", right, media=media)
    assert code == 200
    wrong = {"metadata": {"labels": {"a": "2"}, key: "7"}}
    code, status = await api.ask("PATCH", f"{path}/a{subresource}", wrong, media=media)
    assert (code, status["reason"]) == (409, "Conflict")
    assert (await api.ask("GET", f"{path}/a"))[1]["metadata"].get("labels", {}).get("a") != "2"


async def test_of_racing_writers_with_one_version_only_one_wins(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    made = await api.create(path, CONFIG_MAP)
    answers = await asyncio.gather(
        *(api.ask("PUT", f"{path}/a", {**made, "data": {"x": f"w{number}"}}) for number in range(8))
    )
    assert sorted(code for code, _ in answers) == [200] + [409] * 7


async def test_patches_without_a_version_never_conflict(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    await api.create(path, CONFIG_MAP)
    patches = ({"data": {f"k{number}": "v"}} for number in range(20))
    merge = "application/merge-patch+json"
    answers = await asyncio.gather(*(api.ask("PATCH", f"{path}/a", patch, media=merge) for patch in patches))
    assert {code for code, _ in answers} == {200}
    assert len((await api.get(f"{path}/a"))["data"]) == 21


REFUSED_CREATES = [
    ({**CONFIG_MAP, "kind": "Secret"}, 400, "BadRequest", "cannot be handled as a ConfigMap"),
    ({**CONFIG_MAP, "apiVersion": "v2"}, 400, "BadRequest", "does not match the expected API version"),
    ({**CONFIG_MAP, "metadata": {}}, 422, "Invalid", "name or generateName is required"),
    ({**CONFIG_MAP, "metadata": {"name": "A_b"}}, 422, "Invalid", "metadata.name"),
    (
        {**CONFIG_MAP, "metadata": {"name": "a", "namespace": "other"}},
        400,
        "BadRequest",
        "does not match the namespace",
    ),
    ({**CONFIG_MAP, "data": {"x": 1}}, 400, "BadRequest", "cannot unmarshal number"),
    ({**CONFIG_MAP, "metadata": []}, 400, "BadRequest", ""),
    (b"{", 400, "BadRequest", ""),
    (b"[]", 400, "BadRequest", ""),
    (b"\xff\xfe", 400, "BadRequest", ""),
    (b'{"a":' * 3000 + b"1" + b"}" * 3000, 400, "BadRequest", "deep"),
]


@pytest.mark.parametrize(("body", "code", "reason", "message"), REFUSED_CREATES)
async def test_creates_that_are_refused(
    api: Any, namespace: str, body: Any, code: int, reason: str, message: str
) -> None:
    got, status = await api.ask("POST", f"/api/v1/namespaces/{namespace}/configmaps", body)
    assert (got, status["kind"], status["reason"], status["code"]) == (code, "Status", reason, code)
    assert message in status["message"]


async def test_names_are_generated_and_taken_names_refused(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    made = await api.create(path, {"metadata": {"generateName": "g-"}})
    assert made["metadata"]["name"].startswith("g-") and len(made["metadata"]["name"]) == 7
    await api.create(path, CONFIG_MAP)
    code, status = await api.ask("POST", path, CONFIG_MAP)
    assert (code, status["reason"], status["message"]) == (409, "AlreadyExists", 'configmaps "a" already exists')


async def test_a_dry_run_stores_nothing(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    code, shown = await api.ask("POST", f"{path}?dryRun=All", CONFIG_MAP)
    assert (code, shown["data"]) == (201, {"x": "1"})
    assert (await api.ask("GET", f"{path}/a"))[0] == 404
    await api.create(path, CONFIG_MAP)
    code, shown = await api.ask("PUT", f"{path}/a?dryRun=All", {**CONFIG_MAP, "data": {"x": "2"}})
    assert (code, shown["data"]) == (200, {"x": "2"})
    await api.ask("DELETE", f"{path}/a?dryRun=All")
    assert (await api.get(f"{path}/a"))["data"] == {"x": "1"}
    assert (await api.ask("POST", f"{path}?dryRun=Some", CONFIG_MAP))[0] == 400


async def test_unknown_fields_warn_or_refuse(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    odd = {**CONFIG_MAP, "datum": {}}
    code, status = await api.ask("POST", f"{path}?fieldValidation=Strict", odd)
    assert (code, status["reason"]) == (400, "BadRequest")
    assert 'unknown field "datum"' in status["message"]
    answer = await api.session.post(path, json=odd)
    assert answer.status_code == 201
    assert answer.headers["warning"] == '299 - "unknown field \\"datum\\""'


async def test_apply_creates_owns_and_conflicts(api: Any, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    code, made = await api.ask("PATCH", f"{path}?fieldManager=one", deployment("web", replicas=2), media=APPLY)
    assert (code, made["spec"]["replicas"], made["metadata"]["generation"]) == (201, 2, 1)
    code, status = await api.ask("PATCH", f"{path}?fieldManager=two", deployment("web", replicas=3), media=APPLY)
    assert (code, status["reason"]) == (409, "Conflict")
    assert status["details"]["causes"][0]["field"] == ".spec.replicas"
    code, forced = await api.ask(
        "PATCH", f"{path}?fieldManager=two&force=true", deployment("web", replicas=3), media=APPLY
    )
    assert (code, forced["spec"]["replicas"], forced["metadata"]["generation"]) == (200, 3, 2)
    code, status = await api.ask("PATCH", path, deployment("web"), media=APPLY)
    assert (code, "fieldManager" in status["message"]) == (400, True)


async def test_status_and_spec_are_written_apart(api: Any, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    made = await api.create(path, {**deployment("web"), "status": {"replicas": 7}})
    assert "replicas" not in made["status"]
    code, changed = await api.ask("PUT", f"{path}/web/status", {**made, "spec": {}, "status": {"replicas": 1}})
    assert (code, changed["status"]["replicas"], changed["spec"]) == (200, 1, made["spec"])
    code, changed = await api.ask("PUT", f"{path}/web", {**made, "metadata": {"name": "web"}, "status": {}})
    assert (code, changed["status"]["replicas"], changed["metadata"]["generation"]) == (200, 1, 1)


async def test_scale_is_read_and_set(api: Any, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    await api.create(path, deployment("web"))
    scale = await api.get(f"{path}/web/scale")
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale",
        {"replicas": 1},
        {"replicas": 0, "selector": "app=web"},
    )
    code, scaled = await api.ask("PUT", f"{path}/web/scale", {**scale, "spec": {"replicas": 4}})
    assert (code, scaled["spec"]["replicas"]) == (200, 4)
    merge = "application/merge-patch+json"
    code, scaled = await api.ask("PATCH", f"{path}/web/scale", {"spec": {"replicas": 2}}, media=merge)
    assert (code, scaled["spec"]["replicas"]) == (200, 2)
    assert (await api.get(f"{path}/web"))["spec"]["replicas"] == 2
    code, _ = await api.ask("PATCH", f"{path}/web/scale", {"spec": {"replicas": -1}}, media=merge)
    assert code == 422


async def test_no_namespace_no_object(api: Any) -> None:
    code, status = await api.ask("POST", "/api/v1/namespaces/nowhere/configmaps", CONFIG_MAP)
    assert (code, status["message"]) == (404, 'namespaces "nowhere" not found')


async def test_yaml_in_and_out(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    code, made = await api.ask("POST", path, b"metadata: {name: y}\ndata: {x: 'on'}\n", media="application/yaml")
    assert (code, made["data"]) == (201, {"x": "on"})
    answer = await api.session.get(f"{path}/y", headers={"accept": "application/yaml"})
    assert answer.headers["content-type"] == "application/yaml"
    assert "x: 'on'" in answer.text


async def test_events_are_the_same_in_both_groups(api: Any, namespace: str) -> None:
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace},
        "reason": "Tried",
        "message": "text",
        "type": "Normal",
        "source": {"component": "test"},
    }
    await api.create(f"/api/v1/namespaces/{namespace}/events", event)
    new = await api.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events/e")
    assert (new["apiVersion"], new["note"], new["regarding"]["name"]) == ("events.k8s.io/v1", "text", "p")
    path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events?fieldSelector=regarding.name=p"
    assert [item["note"] for item in (await api.get(path))["items"]] == ["text"]
    assert (await api.get(f"/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.name=q"))["items"] == []
