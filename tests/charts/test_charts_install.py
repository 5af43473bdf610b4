"""Installed and upgraded by the stock helm program on a real API: what is generated once stays."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.charts.conftest import Object, objects_in
from tests.node_api import RunningApi

Helm = Callable[..., str]
TOKENS = {("Secret", name) for name in ("hub", "registry-token", "registry-pull", "binder-local")}


@pytest.fixture(scope="module")
def helm(stock_programs: Any, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helm]:
    """helm(arguments…) on an API of this module's own."""
    running = RunningApi(tmp_path_factory.mktemp("node"))
    running.start()
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment = kept | {"KUBECONFIG": str(running.kubeconfig), "HELM_CACHE_HOME": str(running.root / "helm")}

    def run(*arguments: str) -> str:
        command = [str(stock_programs.helm), *arguments]
        result = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    try:
        yield run
    finally:
        running.stop()


def deploy(helm: Helm, *more: str, release: str = "binder", namespace: str = "binder") -> dict[tuple[str, str], Object]:
    """The objects of the release after `helm upgrade --install` with the local environment's values."""
    where = [release, "--namespace", namespace]
    helm(
        "upgrade",
        "--install",
        *where[:1],
        "mybinder",
        *where[1:],
        "--create-namespace",
        "-f",
        "config/local.yaml",
        *more,
    )
    manifest = objects_in(helm("get", "manifest", *where))
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in manifest}


def test_an_upgrade_without_changes_changes_nothing(helm: Helm) -> None:
    first, second = deploy(helm), deploy(helm)
    assert len(first) > 45
    assert {key for key in first | second if first.get(key) != second.get(key)} == set()


def test_a_change_keeps_the_tokens(helm: Helm) -> None:
    before, after = deploy(helm), deploy(helm, "--set", "binderhub.jupyterhub.singleuser.startTimeout=77")
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {("Secret", "hub"), ("Deployment", "hub")}
    for key in TOKENS:
        kept = [
            {name: text for name, text in found[key]["data"].items() if name != "values.yaml"}
            for found in (before, after)
        ]
        assert kept[0] == kept[1], key


def test_two_releases_share_a_cluster(helm: Helm) -> None:
    """The class of ingresses has no namespace: the first release owns it, and keeps it at each upgrade."""
    assert ("IngressClass", "nginx") in deploy(helm)
    other = deploy(helm, "--set", "global.domain=other.localhost", release="other", namespace="other")
    assert ("IngressClass", "nginx") not in other
    assert ("ClusterRole", "other-nginx-ingress") in other
    assert ("IngressClass", "nginx") in deploy(helm)


def test_notes_say_where_it_is(helm: Helm) -> None:
    deploy(helm)
    assert "Binder   http://binder.localhost:8080/" in helm("get", "notes", "binder", "--namespace", "binder")
