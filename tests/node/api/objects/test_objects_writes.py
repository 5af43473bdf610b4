"""Whole writes: defaults, generation, status, identity, in the order of a real server."""

from __future__ import annotations

import base64
import copy
import json
from datetime import datetime
from typing import Any

import pytest

from binderops.errors import InvalidError
from binderops.kube.schemas import Schema, schema_of
from binderops.node.api.objects.admission import MOUNT_PATH, admit_pod
from binderops.node.api.objects.computed_defaults import pull_policy
from binderops.node.api.objects.decoding import APPLY
from binderops.node.api.objects.defaults import apply_defaults
from binderops.node.api.objects.writes import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    prepare_create,
    prepare_patch,
    prepare_replace,
    unchanged,
)

Object = dict[str, Any]


def created(obj: Object, now: datetime) -> tuple[Object, Schema]:
    group, _, version = obj["apiVersion"].rpartition("/")
    schema = schema_of(group, version, obj["kind"])
    before = copy.deepcopy(obj)
    result = prepare_create(obj, schema=schema, manager="t", now=now)
    assert obj == before
    return result, schema


def test_a_deployment_gets_what_a_real_server_gives(deployment: Object, now: datetime) -> None:
    result, _ = created(deployment, now)
    spec = result["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    assert spec["template"]["spec"] == {
        "containers": [
            {
                "name": "nginx",
                "image": "nginx:1",
                "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }
    assert result["metadata"]["generation"] == 1
    assert result["metadata"]["creationTimestamp"] == "2026-01-02T03:04:05Z"
    assert result["status"] == {}


def test_defaults_are_idempotent(deployment: Object, deployment_schema: Schema) -> None:
    once = apply_defaults(deployment, deployment_schema)
    assert apply_defaults(once, deployment_schema) == once


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.2", "IfNotPresent"),
        ("registry.x.svc:5000/a", "Always"),
        ("registry.x.svc:5000/a:1", "IfNotPresent"),
        ("a@sha256:" + "0" * 64, "IfNotPresent"),
        ("a:latest@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


def head(kind: str, api_version: str = "v1", **content: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "namespace": "d"}, **content}


def test_kinds_get_their_own(now: datetime) -> None:
    service, _ = created(head("Service", spec={"ports": [{"port": 80}, {"port": 81, "targetPort": "http"}]}), now)
    assert service["spec"] == {
        "ports": [
            {"port": 80, "protocol": "TCP", "targetPort": 80},
            {"port": 81, "protocol": "TCP", "targetPort": "http"},
        ],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
    }
    assert service["status"] == {"loadBalancer": {}}
    secret, _ = created(head("Secret", data={"a": "YQ=="}, stringData={"b": "b"}), now)
    assert secret["type"] == "Opaque"
    assert secret["data"] == {"a": "YQ==", "b": base64.b64encode(b"b").decode()}
    assert "stringData" not in secret
    namespace, _ = created(head("Namespace"), now)
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}
    assert (namespace["spec"], namespace["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})
    policy, _ = created(head("NetworkPolicy", "networking.k8s.io/v1", spec={"podSelector": {}, "egress": [{}]}), now)
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    daemon, _ = created(head("DaemonSet", "apps/v1", spec={"selector": {}, "template": {}}), now)
    assert daemon["status"] == dict.fromkeys(
        ["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"], 0
    )


def test_a_job_is_tied_to_its_own_pods(now: datetime) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    job, _ = created(head("Job", "batch/v1", spec={"template": template}), now)
    uid = job["metadata"]["uid"]
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert job["spec"]["template"]["metadata"]["labels"] == {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "x",
        "controller-uid": uid,
        "job-name": "x",
    }
    assert (job["spec"]["completions"], job["spec"]["parallelism"], job["spec"]["backoffLimit"]) == (1, 1, 6)


def test_nulls_are_absence_but_empty_text_in_maps(now: datetime) -> None:
    config, _ = created(head("ConfigMap", data={"a": None}, immutable=None), now)
    assert config["data"] == {"a": ""}
    assert "immutable" not in config


def test_generated_names_differ(now: datetime) -> None:
    given = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "web-"}, "spec": {"containers": []}}
    names = {created(given, now)[0]["metadata"]["name"] for _ in range(20)}
    assert len(names) > 15
    assert all(name.startswith("web-") and len(name) == 9 for name in names)


def test_generation_counts_what_is_wanted(deployment: Object, now: datetime) -> None:
    live, schema = created(deployment, now)

    def replaced(change: Object, subresource: str = "") -> Object:
        new = {**live, **change}
        return prepare_replace(live, new, schema=schema, manager="t", now=now, subresource=subresource)

    assert replaced({"spec": {**live["spec"], "replicas": 2}})["metadata"]["generation"] == 2
    labels = {**live["metadata"], "labels": {"other": "x"}}
    assert replaced({"metadata": labels})["metadata"]["generation"] == 1
    annotated = {**live["metadata"], "annotations": {"other": "x"}}
    assert replaced({"metadata": annotated})["metadata"]["generation"] == 2
    assert unchanged(live, replaced({}))


def test_each_endpoint_writes_its_own_part(deployment: Object, now: datetime) -> None:
    live, schema = created(deployment, now)
    new = {**live, "spec": {**live["spec"], "replicas": 7}, "status": {"replicas": 5}}
    main = prepare_replace(live, new, schema=schema, manager="t", now=now)
    assert (main["spec"]["replicas"], main["status"]) == (7, {})
    status = prepare_replace(live, new, schema=schema, manager="t", now=now, subresource="status")
    assert (status["spec"]["replicas"], status["status"]) == (1, {"replicas": 5})
    assert status["metadata"]["generation"] == 1


def test_the_server_s_metadata_stays_the_server_s(deployment: Object, now: datetime, later: datetime) -> None:
    live, schema = created(deployment, now)
    forged = {
        **live["metadata"],
        "creationTimestamp": "2000-01-01T00:00:00Z",
        "generation": 99,
        "deletionTimestamp": "2000-01-01T00:00:00Z",
        "namespace": "other",
        "selfLink": "/x",
    }
    new = prepare_replace(live, {**live, "metadata": forged}, schema=schema, manager="t", now=later)
    assert new["metadata"] == live["metadata"]


@pytest.mark.parametrize(
    ("media", "patch"),
    [
        (MERGE_PATCH, {"spec": {"replicas": 3}}),
        (STRATEGIC_PATCH, {"spec": {"replicas": 3}}),
        (JSON_PATCH, [{"op": "replace", "path": "/spec/replicas", "value": 3}]),
        (APPLY, {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 3}}),
    ],
)
def test_four_kinds_of_patch(deployment: Object, now: datetime, later: datetime, media: str, patch: Any) -> None:
    live, schema = created(deployment, now)
    new, warnings = prepare_patch(
        live, json.dumps(patch).encode(), media, schema=schema, manager="p", now=later, force=media == APPLY
    )
    assert new["spec"]["replicas"] == 3
    assert new["metadata"]["generation"] == 2
    assert warnings == []
    owner = next(each for each in new["metadata"]["managedFields"] if each["manager"] == "p")
    assert owner["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    again, _ = prepare_patch(
        new, json.dumps(patch).encode(), media, schema=schema, manager="p", now=later, force=media == APPLY
    )
    assert unchanged(new, again)


def test_apply_creates_and_applies_again_without_a_write(deployment: Object, now: datetime, later: datetime) -> None:
    schema = schema_of("apps", "v1", "Deployment")
    body = json.dumps(deployment).encode()
    first, _ = prepare_patch(None, body, APPLY, schema=schema, manager="helm", now=now)
    second, _ = prepare_patch(first, body, APPLY, schema=schema, manager="helm", now=later)
    assert unchanged(first, second)
    assert first["metadata"]["managedFields"][0]["operation"] == "Apply"


@pytest.mark.parametrize(
    ("media", "patch", "code"),
    [
        (MERGE_PATCH, b'{"kind":"ReplicaSet"}', 400),
        (MERGE_PATCH, b'{"metadata":{"name":"other"}}', 400),
        (MERGE_PATCH, b"[]", 400),
        (STRATEGIC_PATCH, b'{"spec":{"foo":1}}', 422),
        (JSON_PATCH, b"{}", 400),
        (APPLY, b'{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":1,"replicas":2}}', 400),
        ("text/plain", b"{}", 415),
    ],
)
def test_bad_patches_are_answered(deployment: Object, now: datetime, media: str, patch: bytes, code: int) -> None:
    live, schema = created(deployment, now)
    with pytest.raises(InvalidError) as caught:
        prepare_patch(live, patch, media, schema=schema, manager="p", now=now, field_validation="Strict")
    assert caught.value.code == code


def test_many_small_operations_cannot_nest_without_end(deployment: Object, now: datetime) -> None:
    live, schema = created(deployment, now)
    deep: Any = "x"
    for _ in range(60):
        deep = {"a": deep}
    path = "/metadata/annotations"
    operations = []
    for _ in range(20):
        operations.append({"op": "add", "path": path, "value": deep})
        path += "/a" * 60
    with pytest.raises(InvalidError) as caught:
        prepare_patch(live, json.dumps(operations).encode(), JSON_PATCH, schema=schema, manager="p", now=now)
    assert caught.value.code == 400


def test_a_pod_is_given_its_token(now: datetime) -> None:
    pod, _ = created(head("Pod", spec={"containers": [{"name": "a", "image": "i"}]}), now)
    account = {"metadata": {"name": "hub"}, "imagePullSecrets": [{"name": "pull"}]}
    admitted = admit_pod(pod, service_account=account)
    spec = admitted["spec"]
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert [next(iter(each)) for each in volume["projected"]["sources"]] == [
        "serviceAccountToken",
        "configMap",
        "downwardAPI",
    ]
    mount = {"mountPath": MOUNT_PATH, "name": volume["name"], "readOnly": True}
    assert spec["containers"][0]["volumeMounts"] == [mount]
    assert (spec["serviceAccountName"], spec["imagePullSecrets"]) == ("hub", [{"name": "pull"}])
    assert len(spec["tolerations"]) == 2
    assert "volumes" not in pod["spec"], "the given pod was changed"


@pytest.mark.parametrize(
    ("spec", "account"),
    [
        ({"automountServiceAccountToken": False}, {}),
        ({}, {"automountServiceAccountToken": False}),
    ],
)
def test_a_pod_may_go_without_token(now: datetime, spec: Object, account: Object) -> None:
    pod, _ = created(head("Pod", spec={"containers": [{"name": "a", "image": "i"}], **spec}), now)
    admitted = admit_pod(pod, service_account={"metadata": {"name": "default"}, **account})
    assert "volumes" not in admitted["spec"]


def test_an_update_of_a_service_keeps_its_allocations(now: datetime) -> None:
    live, schema = created(head("Service", spec={"type": "NodePort", "ports": [{"port": 80}]}), now)
    live["spec"] |= {"clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"]}
    live["spec"]["ports"][0]["nodePort"] = 30080
    sent = head("Service", spec={"type": "NodePort", "ports": [{"port": 80, "name": "http"}]})
    new = prepare_replace(live, sent, schema=schema, manager="t", now=now)
    assert (new["spec"]["clusterIP"], new["spec"]["ports"][0]["nodePort"]) == ("10.0.0.9", 30080)
    back = {**live, "spec": {**live["spec"], "type": "ClusterIP"}}
    new = prepare_replace(live, back, schema=schema, manager="t", now=now)
    assert "nodePort" not in new["spec"]["ports"][0]
