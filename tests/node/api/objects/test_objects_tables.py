"""Tables: the columns and cells that kubectl shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from binderops.node.api.objects.printing import human_duration
from binderops.node.api.objects.tables import PRINTERS, table

NOW = datetime(2026, 1, 2, tzinfo=UTC)
Object = dict[str, Any]


def old(seconds: int) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def shown(kind: str, obj: Object, *, wide: bool = False) -> dict[str, Any]:
    obj = {"metadata": {"name": "x", "creationTimestamp": old(90)} | obj.pop("metadata", {}), **obj}
    result = table([obj], kind, now=NOW)
    (row,) = result["rows"]
    assert len(row["cells"]) == len(result["columnDefinitions"])
    return {
        column["name"].upper(): cell
        for column, cell in zip(result["columnDefinitions"], row["cells"], strict=True)
        if wide or not column["priority"]
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (600, "10m"),
        (179 * 60, "179m"),
        (3 * 3600, "3h"),
        (5 * 3600 + 60, "5h1m"),
        (47 * 3600, "47h"),
        (49 * 3600, "2d1h"),
        (9 * 86400, "9d"),
        (800 * 86400, "2y70d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_ages_are_written_as_kubectl_writes_them(seconds: int, text: str) -> None:
    assert human_duration(seconds) == text


def status(**state: Any) -> Object:
    return {"name": "c", "state": state, "ready": "running" in state, "restartCount": 0}


PODS: dict[str, tuple[Object, tuple[str, str, str]]] = {
    "pending": ({"status": {"phase": "Pending"}}, ("0/1", "Pending", "0")),
    "running": (
        {"status": {"phase": "Running", "containerStatuses": [status(running={})]}},
        ("1/1", "Running", "0"),
    ),
    "pulling fails": (
        {"status": {"phase": "Pending", "containerStatuses": [status(waiting={"reason": "ImagePullBackOff"})]}},
        ("0/1", "ImagePullBackOff", "0"),
    ),
    "completed": (
        {"status": {"phase": "Succeeded", "containerStatuses": [status(terminated={"reason": "Completed"})]}},
        ("0/1", "Completed", "0"),
    ),
    "exit code": (
        {"status": {"phase": "Failed", "containerStatuses": [status(terminated={"exitCode": 3})]}},
        ("0/1", "ExitCode:3", "0"),
    ),
    "terminating": (
        {"metadata": {"deletionTimestamp": old(1)}, "status": {"phase": "Running", "containerStatuses": []}},
        ("0/1", "Terminating", "0"),
    ),
    "init at work": (
        {
            "spec": {"initContainers": [{"name": "a"}, {"name": "b"}], "containers": [{}]},
            "status": {
                "phase": "Pending",
                "initContainerStatuses": [status(terminated={"exitCode": 0}), status(running={})],
            },
        },
        ("0/1", "Init:1/2", "0"),
    ),
    "init crashes": (
        {
            "spec": {"initContainers": [{"name": "a"}], "containers": [{}]},
            "status": {"phase": "Pending", "initContainerStatuses": [status(waiting={"reason": "CrashLoopBackOff"})]},
        },
        ("0/1", "Init:CrashLoopBackOff", "0"),
    ),
    "restarted": (
        {
            "status": {
                "phase": "Running",
                "containerStatuses": [
                    {
                        **status(running={}),
                        "restartCount": 2,
                        "lastState": {"terminated": {"finishedAt": old(30)}},
                    }
                ],
            }
        },
        ("1/1", "Running", "2 (30s ago)"),
    ),
}


@pytest.mark.parametrize(("pod", "cells"), PODS.values(), ids=PODS.keys())
def test_pods(pod: Object, cells: tuple[str, str, str]) -> None:
    row = shown("Pod", {"spec": {"containers": [{}]}, **pod})
    assert (row["READY"], row["STATUS"], row["RESTARTS"]) == cells
    assert row["AGE"] == "90s"


ROWS: dict[str, tuple[str, Object, dict[str, Any]]] = {
    "deployment": (
        "Deployment",
        {"spec": {"replicas": 2}, "status": {"readyReplicas": 1, "updatedReplicas": 2}},
        {"NAME": "x", "READY": "1/2", "UP-TO-DATE": 2, "AVAILABLE": 0, "AGE": "90s"},
    ),
    "service": (
        "Service",
        {"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30080}]}},
        {
            "NAME": "x",
            "TYPE": "NodePort",
            "CLUSTER-IP": "10.0.0.1",
            "EXTERNAL-IP": "<none>",
            "PORT(S)": "80:30080/TCP",
            "AGE": "90s",
        },
    ),
    "pending load balancer": (
        "Service",
        {"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}},
        {
            "NAME": "x",
            "TYPE": "LoadBalancer",
            "CLUSTER-IP": "10.0.0.1",
            "EXTERNAL-IP": "<pending>",
            "PORT(S)": "<none>",
            "AGE": "90s",
        },
    ),
    "job": (
        "Job",
        {
            "spec": {"completions": 1},
            "status": {
                "succeeded": 1,
                "startTime": old(60),
                "completionTime": old(50),
                "conditions": [{"type": "Complete", "status": "True"}],
            },
        },
        {"NAME": "x", "STATUS": "Complete", "COMPLETIONS": "1/1", "DURATION": "10s", "AGE": "90s"},
    ),
    "ingress": (
        "Ingress",
        {"spec": {"ingressClassName": "nginx", "rules": [{"host": "a.org"}, {"host": "b.org"}], "tls": [{}]}},
        {"NAME": "x", "CLASS": "nginx", "HOSTS": "a.org,b.org", "ADDRESS": "", "PORTS": "80, 443", "AGE": "90s"},
    ),
    "secret": (
        "Secret",
        {"type": "Opaque", "data": {"a": ""}},
        {"NAME": "x", "TYPE": "Opaque", "DATA": 1, "AGE": "90s"},
    ),
    "node": (
        "Node",
        {"status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.35.4"}}},
        {"NAME": "x", "STATUS": "Ready", "ROLES": "<none>", "AGE": "90s", "VERSION": "v1.35.4"},
    ),
    "event": (
        "Event",
        {
            "type": "Warning",
            "reason": "Failed",
            "message": "no\n",
            "involvedObject": {"kind": "Pod", "name": "p"},
            "lastTimestamp": old(5),
        },
        {"LAST SEEN": "5s", "TYPE": "Warning", "REASON": "Failed", "OBJECT": "pod/p", "MESSAGE": "no"},
    ),
    "claim": (
        "PersistentVolumeClaim",
        {
            "spec": {"volumeName": "pv", "storageClassName": "local"},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]},
        },
        {
            "NAME": "x",
            "STATUS": "Bound",
            "VOLUME": "pv",
            "CAPACITY": "1Gi",
            "ACCESS MODES": "RWO",
            "STORAGECLASS": "local",
            "VOLUMEATTRIBUTESCLASS": "<unset>",
            "AGE": "90s",
        },
    ),
    "anything else": ("Unheard", {}, {"NAME": "x", "AGE": "90s"}),
}


@pytest.mark.parametrize(("kind", "obj", "row"), ROWS.values(), ids=ROWS.keys())
def test_rows(kind: str, obj: Object, row: dict[str, Any]) -> None:
    assert shown(kind, dict(obj)) == row


@pytest.mark.parametrize("kind", PRINTERS)
def test_an_empty_object_of_each_kind_can_be_printed(kind: str) -> None:
    result = table([{}, {"metadata": {}, "spec": None, "status": None}], kind, now=NOW)
    assert all(len(row["cells"]) == len(result["columnDefinitions"]) for row in result["rows"])


def test_rows_carry_what_was_asked_for() -> None:
    obj = {"metadata": {"name": "x"}, "data": {"a": "b"}}
    listed = table([obj], "ConfigMap", now=NOW, list_meta={"resourceVersion": "7"})
    assert (listed["kind"], listed["apiVersion"], listed["metadata"]) == (
        "Table",
        "meta.k8s.io/v1",
        {"resourceVersion": "7"},
    )
    assert listed["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert "data" not in listed["rows"][0]["object"]
    assert table([obj], "ConfigMap", now=NOW, include="Object")["rows"][0]["object"] == obj
    assert "object" not in table([obj], "ConfigMap", now=NOW, include="None")["rows"][0]
