"""The demonstration keys: whatever they read, each command refuses where the target is not on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.command_names import command_names
from typer.testing import CliRunner

from binderops.cli.app import app, register_commands
from binderops.secrets.demonstration import DEMONSTRATION_KEYS

KEY = next(iter(DEMONSTRATION_KEYS))
ON_AN_ENVIRONMENT: dict[str, list[str]] = {
    "up": ["staging"],
    "down": ["staging"],
    "purge": ["staging"],
    "launch": ["examples/hello", "-e", "staging"],
    "deploy": ["staging"],
    "verify": ["staging"],
    "rollback": ["staging"],
    "ledger": ["staging"],
    "status": ["staging"],
    "state": ["staging"],
    "explain": ["staging", "global.domain"],
    "kubeconfig": ["staging"],
    "logs": ["hub", "-e", "staging"],
    "certificates": ["staging"],
    "trust": ["staging"],
    "new environment": ["demo", "--like", "staging"],
    "secrets keys": ["staging"],
    "secrets set": ["staging", "a.b"],
    "secrets edit": ["staging", "--editor", "true"],
    "secrets generate": ["staging"],
    "secrets rotate": ["staging", "binderhub.localToken"],
    "secrets readers": ["staging", "--add", KEY, "--name", "x"],
    "secrets check": [],
    "secrets seal": ["secret/staging/robot.yaml"],
    "secrets import": ["secret/staging/robot.yaml", "--reader", KEY],
    "secrets merge-driver": ["a", "b", "c", "secret/config/staging.yaml"],
}
ON_NONE = {"env", "images build", "images publish", "secrets new-key"}  # `env` tells of each environment


@pytest.fixture
def elsewhere(repository: Path) -> Path:
    """This repository, with staging pointed at a cluster: an address where nobody listens."""
    path = repository / "binderops.yaml"
    text = re.sub(r"node: \{name: staging.*?\}", "cluster: {kubeconfig: k.yaml}", path.read_text(), count=1)
    assert "cluster:" in text
    path.write_text(text)
    cluster = {"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}
    context = {"name": "a", "context": {"cluster": "a", "user": "a"}}
    config = {
        "clusters": [cluster],
        "contexts": [context],
        "current-context": "a",
        "users": [{"name": "a", "user": {}}],
    }
    (repository / "k.yaml").write_text(json.dumps(config))
    (repository / "secret/staging").mkdir()
    (repository / "secret/staging/robot.yaml").write_text("token: x\n")
    return repository


@pytest.fixture
def call(elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """call(command, arguments…): in the repository's folder."""
    register_commands()
    monkeypatch.chdir(elsewhere)
    environment = {"BINDEROPS_STATE": str(tmp_path / "state"), "BINDEROPS_RUN": str(tmp_path / "run"), "COLUMNS": "200"}

    def command(name: str, *arguments: str) -> Any:
        return CliRunner().invoke(app, [*name.split(), *arguments], input="x", env=environment)

    return command


def test_no_command_is_left_out() -> None:
    assert command_names() == set(ON_AN_ENVIRONMENT) | ON_NONE


@pytest.mark.parametrize("name", ON_AN_ENVIRONMENT)
def test_each_command_refuses_what_a_demonstration_key_reads(call: Any, elsewhere: Path, name: str) -> None:
    before = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    done = call(name, *ON_AN_ENVIRONMENT[name])
    assert done.exit_code == 1, done.output
    assert "demonstration key" in done.output and "not on this machine" in done.output
    after = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    assert after == before, "nothing is written"


def test_env_tells_that_it_asked_nothing(call: Any) -> None:
    told = json.loads(call("env", "--output", "json").stdout)["environments"]
    found = {one["environment"]: one["live"] for one in told}
    assert found["staging"] == "refused" and found["prod"] == "never started"


def test_on_this_machine_they_are_taken(call: Any, elsewhere: Path) -> None:
    assert call("secrets keys", "prod").exit_code == 0
    assert call("state", "prod").exit_code == 0


def test_a_repository_sealed_for_keys_of_its_own_is_not_refused(call: Any, elsewhere: Path) -> None:
    for path in (elsewhere / "secret/config").iterdir():
        path.unlink()
    (elsewhere / ".sops.yaml").unlink()
    new = json.loads(call("secrets new-key", "--file", str(elsewhere / "key.txt"), "--output", "json").stdout)
    done = call("secrets readers", "staging", "--add", new["recipient"], "--name", "ana")
    assert done.exit_code == 0, done.output
    assert call("secrets generate", "staging").exit_code == 0
    done = call("secrets readers", "staging", "--add", KEY, "--name", "everybody")
    assert done.exit_code == 2 and "a demonstration key is public" in done.output
