"""The commands on a running deployment: up twice, status, logs, kubeconfig, launch; answers to mistakes."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root]


def test_up_again_changes_nothing_and_takes_seconds(deployed: Any) -> None:
    before = deployed.json("status", "e2e")["environments"][0]
    started = time.monotonic()
    result = deployed.json("up", "e2e")
    assert time.monotonic() - started < 60
    assert result["deploy"]["changed"] is False
    assert result["proof"]["answer"] == eval(result["proof"]["expression"])
    after = deployed.json("status", "e2e")["environments"][0]
    assert after["revision"] == before["revision"]
    assert _platform(after) == _platform(before)


def _platform(found: Any) -> set[str]:
    return {pod["name"] for pod in found["pods"] if pod["app"] not in {"server", "build"}}


def test_status_names_every_app_and_all_are_ready(deployed: Any) -> None:
    found = deployed.json("status", "e2e")["environments"][0]
    apps = {pod["app"] for pod in found["pods"]}
    assert {"hub", "proxy", "binder", "registry", "ingress"} <= apps
    assert found["release_status"] == "deployed"
    assert [pod for pod in found["pods"] if not pod["well"]] == []
    assert {(pod["containers"], pod["status"]) for pod in found["pods"] if pod["app"] == "hub"} == {("1/1", "Running")}
    shown = deployed.run("status", "e2e").stdout
    assert "hub" in shown and "READY" in shown and deployed.url in shown


def test_logs_of_an_app_and_the_answer_to_an_unknown_one(deployed: Any) -> None:
    done = deployed.run("logs", "hub", "-e", "e2e", "--tail", "50")
    assert done.returncode == 0 and done.stdout.strip()
    lines = deployed.run("logs", "hub", "-e", "e2e", "--tail", "5", "--output", "json").stdout.splitlines()
    assert lines and all(json.loads(line)["pod"].startswith("hub-") for line in lines)
    missing = deployed.run("logs", "nothing", "-e", "e2e")
    assert missing.returncode == 2
    assert "nothing called 'nothing' runs in e2e" in missing.stderr and "hub" in missing.stderr


def test_the_kubeconfig_is_roots_alone(deployed: Any) -> None:
    told = deployed.json("kubeconfig", "e2e")
    assert stat.S_IMODE(Path(told["path"]).stat().st_mode) == 0o600
    assert deployed.run("kubeconfig", "e2e").stdout == Path(told["path"]).read_text()


def test_launch_of_a_folder_that_is_no_git_repository(deployed: Any, tmp_path: Path) -> None:
    folder = tmp_path / "My Notebooks"
    folder.mkdir()
    (folder / "hello.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    result = deployed.json("launch", str(folder), "-e", "e2e")
    assert result["spec"].startswith("local/my-notebooks/")
    assert {"built", "launching", "ready", "page"} <= set(result["phases"])
    again = deployed.json("launch", str(folder), "-e", "e2e")
    assert again["built"] is False
    assert again["image"] == result["image"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("up", "e2"), 2, "did you mean 'e2e'"),
        (("launch", "no-such-thing", "-e", "e2e"), 2, "neither a folder nor a repository"),
        (("launch", "zz/a/b/c", "-e", "e2e"), 1, "No provider found for prefix zz"),
    ],
)
def test_mistakes_get_an_answer_and_an_exit_code(
    deployed: Any, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = deployed.run(*arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    told = json.loads(deployed.run(*arguments, "--output", "json").stdout)
    assert set(told["error"]) == {"id", "what", "where", "why", "hint"}
