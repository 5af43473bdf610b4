"""The stock helm and kubectl programs on a deployment that was made without them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.conftest import NAMESPACE, RELEASE, ROOT
from tests.e2e.launches import Binder, git_spec, phases_of
from tests.e2e.networks import until
from tests.e2e.repositories import EMPTY_NOTEBOOK, Repositories

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root]

Kubectl = Callable[..., str]
Helm = Callable[..., str]
CHART = str(ROOT / "mybinder")  # with charts/ packed: `make charts`


@pytest.fixture(scope="module")
def helm(deployed: Any, stock_programs: Any, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The stock helm in the release's namespace; answers with what it prints."""
    home = tmp_path_factory.mktemp("helm")

    def run(*arguments: str, given: str | None = None) -> str:
        command = [str(stock_programs.helm), "--kubeconfig", str(deployed.kubeconfig), "-n", NAMESPACE, *arguments]
        environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "NO_PROXY": "*"}
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=120, env=environment, check=False
        )
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}\n{done.stdout}"
        return done.stdout

    return run


@pytest.fixture(scope="module")
def values(helm: Helm) -> str:
    """The values of the release, as it was deployed."""
    return helm("get", "values", RELEASE, "-o", "yaml")


def test_helm_lists_the_release_with_its_chart(helm: Helm) -> None:
    (listed,) = json.loads(helm("list", "-o", "json"))
    assert (listed["name"], listed["status"], listed["chart"]) == (RELEASE, "deployed", "mybinder-0.1.0")
    history = json.loads(helm("history", RELEASE, "-o", "json"))
    assert history[-1]["status"] == "deployed"
    assert history[-1]["revision"] == int(listed["revision"])


def test_stock_helm_renders_the_objects_that_are_deployed(helm: Helm, values: str, tmp_path: Path) -> None:
    """From the packed charts: by kind and name, what our own rendering applied."""
    file = tmp_path / "values.yaml"
    file.write_text(values)
    rendered = helm("template", RELEASE, CHART, "-f", str(file), "--no-hooks")
    deployed = helm("get", "manifest", RELEASE)
    assert _names(rendered) == _names(deployed)
    assert len(_names(deployed)) > 40


def test_upgrade_by_stock_helm_and_rollback(
    helm: Helm, kubectl: Kubectl, values: str, binder: Binder, repositories: Repositories, tmp_path: Path
) -> None:
    revision = int(json.loads(helm("list", "-o", "json"))[0]["revision"])
    image = _image(kubectl, "binder")
    file = tmp_path / "values.yaml"
    file.write_text(values)
    helm("upgrade", RELEASE, CHART, "-f", str(file))
    generations = _generations(kubectl)
    # One change in an object that each revision owns: a rollback must be able to take it back.
    helm("upgrade", RELEASE, CHART, "-f", str(file), "--set", "static.nodeSelector.kubernetes\\.io/os=linux")
    assert _selector(kubectl) == {"kubernetes.io/os": "linux"}
    helm("rollback", RELEASE, str(revision))
    assert _selector(kubectl) == {}
    states = {entry["revision"]: entry["status"] for entry in json.loads(helm("history", RELEASE, "-o", "json"))}
    assert states[revision + 3] == "deployed"
    assert {states[number] for number in range(revision, revision + 3)} == {"superseded"}
    unchanged = {name: number for name, number in _generations(kubectl).items() if name != "static"}
    assert unchanged == {name: number for name, number in generations.items() if name != "static"}
    assert _image(kubectl, "binder") == image
    kubectl("rollout", "status", "deployment", "--timeout=60s", "-l", f"release={RELEASE}", timeout=90)
    server = binder.launch(git_spec(repositories.add("upgraded", {"index.ipynb": EMPTY_NOTEBOOK})))
    assert server.run("6 * 7") == "42"


def test_after_stock_helm_our_own_deploy_goes_on(deployed: Any, helm: Helm) -> None:
    before = json.loads(helm("list", "-o", "json"))[0]["revision"]
    result = deployed.json("up", "e2e")
    assert result["proof"]["launch"]["phases"].keys() >= {"ready", "page"}
    assert int(json.loads(helm("list", "-o", "json"))[0]["revision"]) >= int(before)


def test_kubectl_gets_and_describes(kubectl: Kubectl) -> None:
    shown = kubectl("get", "deployments,services,pvc,ingress")
    for name in ("deployment.apps/hub", "service/proxy-public", "persistentvolumeclaim/hub-db-dir", "ingress"):
        assert name in shown
    described = kubectl("describe", "pod", "-l", "component=hub")
    assert "Containers:" in described and "Ready             True" in described
    assert "Roles" in kubectl("get", "nodes", "-o", "wide").title()


def test_kubectl_reads_logs_and_follows_them(
    kubectl: Kubectl, deployed: Any, stock_programs: Any, binder: Binder, repositories: Repositories
) -> None:
    assert kubectl("logs", "deployment/hub", "--tail=5").count("\n") == 5
    command = [str(stock_programs.kubectl), "--kubeconfig", str(deployed.kubeconfig), "-n", NAMESPACE]
    spec = git_spec(repositories.add("followed", {"index.ipynb": EMPTY_NOTEBOOK}))
    with subprocess.Popen(
        [*command, "logs", "deployment/hub", "-f", "--tail=1"], stdout=subprocess.PIPE, text=True
    ) as following:
        try:
            assert following.stdout is not None
            following.stdout.readline()
            user = binder.launch(spec).user
            assert any(user in line for line in following.stdout)
        finally:
            following.kill()


def test_kubectl_execs_in_a_users_server(kubectl: Kubectl, binder: Binder, repositories: Repositories) -> None:
    events = list(binder.stream(git_spec(repositories.add("exec", {"hello.txt": "from the repository\n"}))))
    assert phases_of(events)[-1] == "ready"
    user = str(events[-1]["url"]).rstrip("/").rsplit("/", 1)[-1]
    pod = f"jupyter-{user}"
    assert kubectl("exec", pod, "--", "cat", "hello.txt") == "from the repository\n"
    assert kubectl("exec", "-i", pod, "--", "sh", "-c", "cat; id -u", given="given\n") == "given\n1000\n"
    kubectl("delete", "pod", pod)
    until(lambda: pod not in kubectl("get", "pods"), f"{pod} to be gone")


def _names(manifest: str) -> set[tuple[str, str]]:
    documents = [document for document in yaml.safe_load_all(manifest) if document]
    return {(document["kind"], document["metadata"]["name"]) for document in documents}


def _generations(kubectl: Kubectl) -> dict[str, int]:
    deployments = json.loads(kubectl("get", "deployments", "-o", "json"))["items"]
    return {each["metadata"]["name"]: each["metadata"]["generation"] for each in deployments}


def _selector(kubectl: Kubectl) -> dict[str, str]:
    spec = json.loads(kubectl("get", "deployment", "static", "-o", "json"))["spec"]["template"]["spec"]
    found: dict[str, str] = spec.get("nodeSelector") or {}
    return found


def _image(kubectl: Kubectl, deployment: str) -> str:
    return kubectl("get", "deployment", deployment, "-o", "jsonpath={.spec.template.spec.containers[0].image}")
