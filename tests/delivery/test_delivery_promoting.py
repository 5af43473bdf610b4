"""Deploying and the gate, on a real API: two environments, each in a namespace of its own."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from tests.node_api import RunningApi

from binderops.delivery.attempts import Attempt, recorded
from binderops.delivery.bringing import Gate
from binderops.delivery.deploying import deploy, is_live
from binderops.delivery.progress import Silent, running
from binderops.delivery.promoting import require_proof
from binderops.delivery.results import DeployResult
from binderops.delivery.workspace import Workspace
from binderops.errors import PromotionError, ProofError, TargetError, UsageError
from binderops.helm import releases
from binderops.helm.releases import ReleaseDoor
from binderops.state.project import load_project
from binderops.target.cluster import ClusterTarget

PROJECT = """\
chart: meta
environments:
  staging:
    target: {cluster: {context: binderops}}
    namespace: %s
    layers: [staging.yaml]
    before: [{release: first, chart: first, namespace: %s, layers: [first.yaml]}]
    promotesTo: [prod]
  prod:
    target: {cluster: {context: binderops}}
    namespace: %s
    layers: [prod.yaml]
"""
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {text: {{ .Values.text }}}\n"
FILES = {
    "meta/Chart.yaml": "apiVersion: v2\nname: meta\nversion: 1.0.0\n",
    "meta/values.yaml": "text: default\n",
    "meta/templates/a.yaml": CONFIG_MAP % "a",
    "first/Chart.yaml": "apiVersion: v2\nname: first\nversion: 1.0.0\n",
    "first/templates/b.yaml": CONFIG_MAP % "b",
    "first.yaml": "text: comes before\n",
    "staging.yaml": "global: {domain: staging.localhost}\n",
    "prod.yaml": "global: {domain: prod.localhost}\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository of one ConfigMap a release."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    names = [f"t-{secrets.token_hex(3)}" for _ in range(3)]
    (tmp_path / "binderops.yaml").write_text(PROJECT % tuple(names))
    return tmp_path


def workspace(root: Path, name: str, api: RunningApi) -> Workspace:
    target = ClusterTarget(None, api.kubeconfig)
    return Workspace(root=root, project=load_project(root), name=name, target=target, state=root / "state")


async def bring(found: Workspace) -> DeployResult:
    with running(Silent(), "release") as step:
        return await deploy(found.deployment(), found.target.access(), step=step)


async def test_a_deployment_brings_what_comes_before_and_again_changes_nothing(
    root: Path, running_api: RunningApi
) -> None:
    staging = workspace(root, "staging", running_api)
    access = staging.target.access()
    assert not await is_live(staging.deployment(), access)
    assert (await bring(staging)).changed
    first = staging.environment.before[0]
    found = await ReleaseDoor(access.kubeconfig, first.namespace).history("first")
    assert [entry.status for entry in found] == ["deployed"]
    assert await is_live(staging.deployment(), access)
    assert not (await bring(staging)).changed
    (root / "first.yaml").write_text("text: changed\n")
    assert not await is_live(staging.deployment(), access), "what comes before is part of the state"
    again = await bring(staging)
    assert (again.changed, again.revision) == (True, 2)
    assert len(await ReleaseDoor(access.kubeconfig, first.namespace).history("first")) == 2


async def test_old_revisions_of_a_release_go(
    root: Path, running_api: RunningApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "KEPT_REVISIONS", 3)
    staging = workspace(root, "staging", running_api)
    for number in range(1, 6):
        (root / "staging.yaml").write_text(f"global: {{domain: staging.localhost}}\ntext: number {number}\n")
        assert (await bring(staging)).revision == number
    access = staging.target.access()
    found = await ReleaseDoor(access.kubeconfig, staging.environment.namespace).history("mybinder")
    assert [entry.revision for entry in found] == [3, 4, 5]


async def test_another_version_of_kubernetes_is_refused_before_anything_is_deployed(
    root: Path, running_api: RunningApi
) -> None:
    path = root / "binderops.yaml"
    path.write_text(
        path.read_text().replace("    layers: [prod.yaml]\n", '    layers: [prod.yaml]\n    kubernetesVersion: "1.9"\n')
    )
    prod = workspace(root, "prod", running_api)
    with pytest.raises(TargetError, match=r"prod is meant for 1\.9"):
        await bring(prod)
    assert await ReleaseDoor(running_api.kubeconfig, prod.environment.namespace).history("mybinder") == []


async def test_prod_takes_only_what_the_newest_record_of_staging_says_passed(
    root: Path, running_api: RunningApi
) -> None:
    staging, prod = workspace(root, "staging", running_api), workspace(root, "prod", running_api)

    async def record(*, passes: bool) -> None:
        state = staging.deployment()
        attempt = Attempt("staging", state.namespace, "up", state.digest, state.common)
        async with recorded(attempt, staging.target.access()):
            if not passes:
                raise ProofError("no launch works")

    async def ask() -> str:
        return await require_proof(prod, prod.deployment(), [staging])

    await bring(staging)
    with pytest.raises(PromotionError) as caught:
        await ask()
    assert "has no record of the common part" in (caught.value.why or "")
    await record(passes=True)
    assert "staging proved" in await ask()
    (root / "prod.yaml").write_text("global: {domain: other.localhost}\n")
    assert "staging proved" in await ask(), "what is prod's own needs no proof on staging"
    with pytest.raises(ProofError):
        await record(passes=False)
    with pytest.raises(PromotionError) as caught:
        await ask()
    assert "is a fail at" in (caught.value.why or "") and "no launch works" in (caught.value.why or "")
    await record(passes=True)
    assert "staging proved" in await ask()
    (root / "meta/values.yaml").write_text("text: broken\n")
    with pytest.raises(PromotionError, match="prod takes only what staging has proven"):
        await ask()


async def test_a_promoter_that_does_not_answer_is_what_is_missing(root: Path, running_api: RunningApi) -> None:
    prod = workspace(root, "prod", running_api)
    gone = Workspace(
        root=root,
        project=prod.project,
        name="staging",
        target=ClusterTarget(None, root / "no-kubeconfig"),
        state=root / "state",
    )
    with pytest.raises(PromotionError) as caught:
        await require_proof(prod, prod.deployment(), [gone])
    assert "its records cannot be read" in (caught.value.why or "")


def test_going_ahead_wants_a_reason() -> None:
    with pytest.raises(UsageError, match="wants a reason"):
        Gate(without_proof="  ")
    assert Gate(without_proof="a flood").without_proof == "a flood"
