"""A selector that the only node does not meet is told before anything is changed. Against a real API."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from binderops.delivery.placing import check_places, planned_pods
from binderops.errors import TargetError
from binderops.kube.client import Client
from binderops.kube.kinds import NODE

POOL = {"nodeSelector": {"own.example/pool": "core"}}


def workload(kind: str, spec: dict[str, Any], name: str = "x") -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


def secret(name: str, values: dict[str, Any]) -> dict[str, Any]:
    data = {"values.yaml": base64.b64encode(yaml.safe_dump(values).encode()).decode()}
    return {"kind": "Secret", "metadata": {"name": name}, "data": data}


TERM = {"matchExpressions": [{"key": "own.example/pool", "operator": "In", "values": ["core"]}]}
PLANS = [
    (workload("Deployment", {"template": {"spec": POOL}}), "Deployment x"),
    (workload("Job", {"template": {"spec": POOL}}), "Job x"),
    (workload("CronJob", {"jobTemplate": {"spec": {"template": {"spec": POOL}}}}), "CronJob x"),
    (workload("Pod", POOL), "Pod x"),
    (secret("hub", {"singleuser": POOL}), "users' servers, binderhub.jupyterhub.singleuser"),
    (secret("hub", {"singleuser": {"extraNodeAffinity": {"required": [TERM]}}}),
     "users' servers, binderhub.jupyterhub.singleuser"),
    (secret("binder-secret", {"config": {"KubernetesBuildExecutor": {"node_selector": POOL["nodeSelector"]}}}),
     "builds, binderhub.config.KubernetesBuildExecutor.node_selector"),
    (secret("binder-secret", {"config": {"BinderHub": {"build_node_selector": POOL["nodeSelector"]}}}),
     "builds, binderhub.config.BinderHub.build_node_selector"),
]  # fmt: skip
FITS = [
    workload("DaemonSet", {"template": {"spec": POOL}}),  # of such a node there is none: so there is no pod of it
    workload("Deployment", {"template": {"spec": {"nodeSelector": {"kubernetes.io/os": "linux"}}}}),
    secret("hub", {"singleuser": {"nodeSelector": {"hub.jupyter.org/node-purpose": "user"}}}),
    secret("hub", {}),
    secret("binder-secret", {"config": {}}),
    secret("other", {"singleuser": POOL}),
    {"kind": "Secret", "metadata": {"name": "hub"}},
]


@pytest.fixture
async def client(kubeconfig: dict[str, Any]) -> AsyncIterator[Client]:
    async with Client.from_kubeconfig(kubeconfig) as connected:
        yield connected


@pytest.fixture
async def node(client: Client) -> AsyncIterator[Client]:
    metadata = {"name": "local", "labels": {"kubernetes.io/os": "linux"}}
    await client.create({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
    yield client
    await client.delete(NODE, "local")


@pytest.mark.parametrize(("obj", "what"), PLANS)
async def test_who_has_no_place_is_named_with_what_the_node_has(node: Client, obj: Any, what: str) -> None:
    with pytest.raises(TargetError) as refused:
        await check_places(node, [*FITS, obj])
    error = refused.value
    assert error.what == f"these would have no place on the node local: {what} (own.example/pool=core)"
    assert "kubernetes.io/os=linux" in str(error.why)
    assert "kubectl label node local" in str(error.hint)


async def test_all_are_named_at_once(node: Client) -> None:
    with pytest.raises(TargetError, match=r"Deployment x \(own.example/pool=core\), Job x \("):
        await check_places(node, [obj for obj, _ in PLANS[:2]])


async def test_a_label_of_the_operators_own_makes_a_place(node: Client) -> None:
    await node.patch(NODE, "local", None, {"metadata": {"labels": {"own.example/pool": "core"}}})
    await check_places(node, [*FITS, *(obj for obj, _ in PLANS)])


async def test_where_there_is_no_one_node_nothing_is_said(client: Client) -> None:
    await check_places(client, [obj for obj, _ in PLANS])


def test_pods_without_a_selector_are_planned_too() -> None:
    planned = {pod.what for pod in planned_pods(FITS)}
    assert planned == {"Deployment x", "users' servers, binderhub.jupyterhub.singleuser", "builds"}
