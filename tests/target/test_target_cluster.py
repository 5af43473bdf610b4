"""A cluster by a sealed kubeconfig: opened in memory when it is needed, and not for a demonstration key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.node_api import RunningApi

from binderops.cli.wiring import workspace_of
from binderops.errors import SecretsError, TargetError
from binderops.helm.releases import ReleaseDoor
from binderops.secrets import sops
from binderops.secrets.demonstration import DEMONSTRATION_KEYS
from binderops.secrets.identities import new_identity
from binderops.secrets.values import ClearText
from binderops.state.project import load_project
from binderops.target.cluster import ClusterTarget

PROJECT = """\
environments:
  far:
    target: {cluster: {kubeconfig: secret/kubeconfigs/far.yaml}}
"""


@pytest.fixture(scope="module")
def running_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """The API of a node of this module's own."""
    running = RunningApi(tmp_path_factory.mktemp("node"))
    running.start()
    yield running
    running.stop()


async def test_an_opened_kubeconfig_reaches_client_and_helm_from_memory(running_api: RunningApi) -> None:
    content: dict[str, Any] = yaml.safe_load(running_api.kubeconfig.read_text())
    opened = 0

    def opener() -> dict[str, Any]:
        nonlocal opened
        opened += 1
        return content

    target = ClusterTarget(None, Path("secret/kubeconfigs/far.yaml"), opener)
    assert opened == 0
    assert (await target.health()).running
    access = target.access()
    assert opened == 1, "it is opened once"
    assert json.dumps(content)[20:60] not in repr(target) + repr(access)
    assert await ReleaseDoor(access.kubeconfig, "default").history("none") == []


async def test_one_that_is_not_there_is_told_and_is_no_crash(tmp_path: Path) -> None:
    target = ClusterTarget("c", tmp_path / "none")
    health = await target.health()
    assert (health.running, health.summary) == (False, "there is no kubeconfig")
    with pytest.raises(TargetError):
        target.access()


@pytest.fixture
def repository(running_api: RunningApi, tmp_path: Path) -> Any:
    """sealed(recipient): a repository whose environment `far` has the API's kubeconfig, sealed for the recipient."""

    def sealed(recipient: str) -> Path:
        path = tmp_path / "secret/kubeconfigs/far.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        clear = ClearText(running_api.kubeconfig.read_bytes())
        path.write_bytes(sops.encrypt(clear, name="secret/kubeconfigs/far.yaml", recipients=[recipient]))
        (tmp_path / "binderops.yaml").write_text(PROJECT)
        return tmp_path

    return sealed


async def test_a_sealed_kubeconfig_of_the_repository_is_opened_by_its_reader(
    repository: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity, recipient = new_identity()
    root = repository(recipient)
    workspace = workspace_of(root, load_project(root), "far")
    refused = await workspace.target.health()
    assert not refused.running and "none of your keys opens" in refused.summary
    monkeypatch.setenv("SOPS_AGE_KEY", identity)
    assert (await workspace.target.health()).running
    assert b"PRIVATE KEY" not in b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


async def test_a_kubeconfig_for_a_demonstration_key_is_refused(repository: Any) -> None:
    root = repository(next(iter(DEMONSTRATION_KEYS)))
    target = workspace_of(root, load_project(root), "far").target
    with pytest.raises(SecretsError, match="sealed for a demonstration key"):
        target.access()
