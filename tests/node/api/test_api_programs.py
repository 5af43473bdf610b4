"""The stock programs and client libraries against the API, unmodified."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., str]

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {tier: front}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "example.org/web:1", ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


def _environment(running: Any) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return kept | {
        "KUBECONFIG": str(running.kubeconfig),
        "HOME": str(running.root),
        "HELM_CACHE_HOME": str(running.root / "helm"),
    }


def _runner(program: Path, running: Any) -> Run:
    def run(*arguments: str, text: str = "", code: int = 0) -> str:
        result = subprocess.run(
            [str(program), *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            env=_environment(running),
            check=False,
        )
        assert result.returncode == code, f"{arguments}: {result.stdout}\n{result.stderr}"
        return result.stdout + result.stderr

    return run


@pytest.fixture
def kubectl(stock_programs: Any, running_api: Any, namespace: str) -> Run:
    run = _runner(stock_programs.kubectl, running_api)
    return lambda *arguments, **more: run("-n", namespace, *arguments, **more)


@pytest.fixture
def helm(stock_programs: Any, running_api: Any, namespace: str) -> Run:
    run = _runner(stock_programs.helm, running_api)
    return lambda *arguments, **more: run("-n", namespace, *arguments, **more)


def test_kubectl_applies_reads_changes_and_deletes(kubectl: Run) -> None:
    assert "deployment.apps/web created" in kubectl("apply", "-f", "-", text=MANIFEST)
    assert "deployment.apps/web unchanged" in kubectl("apply", "-f", "-", text=MANIFEST)
    assert "configured" in kubectl("apply", "-f", "-", text=MANIFEST.replace("replicas: 2", "replicas: 3"))
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "3"
    assert "0/3" in kubectl("get", "deploy")
    assert "scaled" in kubectl("scale", "deploy", "web", "--replicas=5")
    assert "app=web" in kubectl("describe", "deploy", "web")
    assert "example.org/web:2" in kubectl(
        "set",
        "image",
        "deploy/web",
        "web=example.org/web:2",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].image}",
    )
    assert "labeled" in kubectl("label", "deploy", "web", "a=b")
    assert "web" in kubectl("get", "deploy", "-l", "a=b", "-o", "name")
    assert "patched" in kubectl(
        "patch", "deploy", "web", "--type=json", "-p", '[{"op":"remove","path":"/metadata/labels/a"}]'
    )
    assert "No resources found" in kubectl("get", "deploy", "-l", "a=b")
    assert "restarted" in kubectl("rollout", "restart", "deploy/web")
    assert "deleted" in kubectl("delete", "-f", "-", text=MANIFEST)
    assert "NotFound" in kubectl("get", "deploy", "web", code=1)


def test_kubectl_applies_on_the_server_and_reports_conflicts(kubectl: Run) -> None:
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", text=MANIFEST)
    kubectl("scale", "deploy", "web", "--replicas=7")
    conflict = kubectl("apply", "--server-side", "-f", "-", text=MANIFEST, code=1)
    assert ".spec.replicas" in conflict and "--force-conflicts" in conflict
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=MANIFEST)
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "2"
    assert "replicas: 3" in kubectl(
        "diff", "--server-side", "-f", "-", text=MANIFEST.replace("replicas: 2", "replicas: 3"), code=1
    )


def test_kubectl_edits(kubectl: Run, tmp_path: Path, stock_programs: Any, running_api: Any, namespace: str) -> None:
    kubectl("create", "configmap", "c", "--from-literal=a=1")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/a: "1"/a: "2"/\' "$1"\n')
    editor.chmod(0o755)
    command = [str(stock_programs.kubectl), "-n", namespace, "edit", "configmap", "c"]
    environment = _environment(running_api) | {"KUBE_EDITOR": str(editor)}
    subprocess.run(command, check=True, timeout=30, env=environment, capture_output=True)
    assert kubectl("get", "cm", "c", "-o", "jsonpath={.data.a}") == "2"


def test_kubectl_asks_about_rights_kinds_and_fields(kubectl: Run, namespace: str) -> None:
    assert kubectl("auth", "can-i", "delete", "pods").strip() == "yes"
    account = f"--as=system:serviceaccount:{namespace}:default"
    assert kubectl("auth", "can-i", "delete", "pods", account, code=1).startswith("no")
    assert "kubernetes-admin" in kubectl("auth", "whoami")
    assert "deployments" in kubectl("api-resources", "--namespaced")
    assert "rollingUpdate" in kubectl("explain", "deploy.spec.strategy")
    assert "unknown field" in kubectl("apply", "-f", "-", text=MANIFEST.replace("replicas", "replica"), code=1)
    refused = kubectl("apply", "-f", "-", text="apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: a}\n", code=1)
    assert 'no matches for kind "Thing"' in refused


async def test_kubectl_waits(kubectl: Run, api: Any, namespace: str) -> None:
    kubectl("create", "configmap", "c")
    waiting = asyncio.create_task(
        asyncio.to_thread(kubectl, "wait", "--for=jsonpath={.data.done}=yes", "configmap/c", "--timeout=20s")
    )
    merge = "application/merge-patch+json"
    await api.ask("PATCH", f"/api/v1/namespaces/{namespace}/configmaps/c", {"data": {"done": "yes"}}, media=merge)
    assert "condition met" in await waiting


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: small\nversion: 0.1.0\n")
    (folder / "values.yaml").write_text("replicas: 1\n")
    (folder / "templates" / "all.yaml").write_text(MANIFEST.replace("replicas: 2", "replicas: {{ .Values.replicas }}"))
    return folder


def test_helm_installs_upgrades_rolls_back_and_uninstalls(helm: Run, kubectl: Run, chart: Path) -> None:
    replicas = ("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}")
    helm("install", "one", str(chart))
    assert kubectl(*replicas) == "1"
    helm("upgrade", "one", str(chart), "--set", "replicas=3")
    assert kubectl(*replicas) == "3"
    helm("rollback", "one", "1")
    assert kubectl(*replicas) == "1"
    history = json.loads(helm("history", "one", "-o", "json"))
    assert [(entry["revision"], entry["status"]) for entry in history] == [
        (1, "superseded"),
        (2, "superseded"),
        (3, "deployed"),
    ]
    assert json.loads(helm("list", "-o", "json"))[0]["revision"] == "3"
    helm("uninstall", "one")
    assert "No resources found" in kubectl("get", "deploy,secret")


SDK = """
import sys
import helm_python

kubeconfig, namespace, folder = sys.argv[1:]
config = helm_python.Config(kubeconfig_path=kubeconfig, namespace=namespace)
chart = helm_python.Chart.load(folder)
config.install(chart, "two", {}, namespace=namespace, timeout=30, wait="hookOnly")
config.upgrade(chart, "two", {"replicas": 4}, namespace=namespace, timeout=30, wait="hookOnly", reset_values=True)
config.rollback("two", version=1, timeout=30, wait="hookOnly")
print(len(config.history("two")))
config.uninstall("two", timeout=30, wait="hookOnly")
"""


def test_the_helm_sdk(chart: Path, running_api: Any, namespace: str, kubectl: Run) -> None:
    """In a process of its own: a Go runtime does not share one with forks."""
    command = [sys.executable, "-c", SDK, str(running_api.kubeconfig), namespace, str(chart)]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=90, env=_environment(running_api), check=False
    )
    assert (result.returncode, result.stdout.strip()) == (0, "3"), result.stderr
    assert "No resources found" in kubectl("get", "deploy,secret")


async def test_kubernetes_asyncio_lists_and_watches(running_api: Any, api: Any, namespace: str) -> None:
    from kubernetes_asyncio import client, config, watch

    loaded = client.Configuration()
    await config.load_kube_config(str(running_api.kubeconfig), client_configuration=loaded)
    loaded.proxy = None
    async with client.ApiClient(loaded) as session:
        core = client.CoreV1Api(session)
        body = {
            "metadata": {"name": "p", "labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i:1"}]},
        }
        await core.create_namespaced_pod(namespace, body)
        listed = await core.list_namespaced_pod(
            namespace, label_selector="a=b", resource_version="0", resource_version_match="NotOlderThan"
        )
        assert [pod.metadata.namespace for pod in listed.items] == [namespace]
        await core.delete_namespaced_pod(
            "p", namespace, grace_period_seconds=1, body=client.V1DeleteOptions(grace_period_seconds=1)
        )
        async with asyncio.timeout(10):
            stream = watch.Watch().stream(
                core.list_namespaced_pod,
                namespace,
                resource_version=listed.metadata.resource_version,
                timeout_seconds=10,
            )
            async for event in stream:
                assert (event["type"], event["object"].metadata.name) == ("DELETED", "p")
                break


async def test_lightkube_creates_applies_and_watches(running_api: Any, namespace: str) -> None:
    from lightkube import AsyncClient, KubeConfig
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import ConfigMap

    config = KubeConfig.from_file(str(running_api.kubeconfig))
    client = AsyncClient(config, namespace=namespace, field_manager="test-" + secrets.token_hex(3))
    made = await client.create(ConfigMap(metadata=ObjectMeta(name="a"), data={"x": "1"}))
    assert made.metadata and made.metadata.uid
    applied = await client.apply(
        ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name="a"), data={"y": "2"})
    )
    assert applied.data == {"x": "1", "y": "2"}
    async with asyncio.timeout(10):
        async for kind, obj in client.watch(ConfigMap):
            assert (kind, obj.metadata.name if obj.metadata else "") == ("ADDED", "a")
            break
    await client.close()
