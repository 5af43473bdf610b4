"""A selector that the only node does not meet is told before anything is changed. Against a real API."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from binderops.delivery.deploying import deploy
from binderops.delivery.placing import check_places, planned_pods
from binderops.delivery.progress import Silent, Step
from binderops.errors import TargetError
from binderops.helm.releases import ReleaseDoor
from binderops.kube.client import Client
from binderops.kube.kinds import NODE
from binderops.state.deployment import load_deployment
from binderops.state.project import load_project
from binderops.target.protocol import Access

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


CHART = {
    "Chart.yaml": "apiVersion: v2\nname: small\nversion: 1.0.0\n",
    "values.yaml": "global: {domain: small.localhost, publicPort: 18999}\n",
    "templates/x.yaml": (
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: x}\nspec:\n  schedule: 0 0 1 1 *\n"
        "  jobTemplate: {spec: {template: {spec: {nodeSelector: {own.example/pool: core}, restartPolicy: Never,"
        " containers: [{name: c, image: i:1}]}}}}\n"
    ),
}


@pytest.mark.parametrize(("target", "asked"), [("{node: {}}", True), ("{cluster: {kubeconfig: K}}", False)])
async def test_a_deploy_ends_before_helm_does_anything(
    node: Client, kubeconfig: dict[str, Any], tmp_path: Path, target: str, *, asked: bool
) -> None:
    """On a cluster of machines it goes on: a node may be made for the pod."""
    for name, text in CHART.items():
        path = tmp_path / "small" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    namespace = "asked" if asked else "not-asked"
    environment = f"{{target: {target}, namespace: {namespace}, layers: []}}"
    (tmp_path / "binderops.yaml").write_text(f"chart: small\nenvironments: {{here: {environment}}}\n")
    deployment = load_deployment(tmp_path, load_project(tmp_path), "here")
    access = Access(kubeconfig)
    with pytest.raises(TargetError, match=r"CronJob x \(own.example/pool=core\)") if asked else nullcontext():
        await deploy(deployment, access, step=Step(Silent(), "release"))
    brought = await ReleaseDoor(kubeconfig, namespace).history(deployment.main.release)
    assert [revision.status for revision in brought] == ([] if asked else ["deployed"])
