"""The overview: every environment, every host, Service and workload, with keys that stand where it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from binderops.state.deployment import load_deployment
from binderops.state.overview import overview_page
from binderops.state.project import load_project

ROOT = Path(__file__).parents[2]
PROJECT = load_project(ROOT)


@pytest.fixture(scope="module")
def page() -> str:
    return overview_page(ROOT)


def test_every_key_stands_on_the_line_that_is_named(page: str) -> None:
    cells = re.findall(r"`([\w.-]+)`: ((?:`[\w./-]+`(?:, )?)*(?:`[\w./-]+:\d+`(?:, )?)+)", page)
    assert len(cells) > 60
    for key, places in cells:
        for place in re.findall(r"`([\w./-]+):(\d+)`", places):
            line = (ROOT / place[0]).read_text(encoding="utf-8").splitlines()[int(place[1]) - 1]
            assert key.rpartition(".")[2] in line or "{" in line, (key, place, line)


@pytest.mark.parametrize("name", list(PROJECT.environments))
def test_nothing_that_runs_is_left_out(page: str, name: str) -> None:
    section = page.partition(f"## The environment `{name}`")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    for found in load_deployment(ROOT, PROJECT, name).objects:
        if found["kind"] in {"Service", "Deployment", "StatefulSet", "DaemonSet", "CronJob"}:
            label = f"`{found['metadata']['name']}`"
            row = next((row for row in rows if label in row.split("|")[1]), "")
            assert re.search(r"`: `|values\.yaml", row), (found["kind"], label, row)
        for rule in found["spec"].get("rules") or [] if found["kind"] == "Ingress" else []:
            assert any(f"`{rule['host']}" in row and "`global.domain`: " in row for row in rows)


def test_a_chart_is_switched_by_a_key(page: str) -> None:
    (row,) = re.findall(r"\| `kube-lego` .*", page.partition("## Charts")[2].partition("## Images")[0])
    assert "| `kube-lego.enabled` | off: `mybinder/values.yaml:" in row
    assert "on: `config/staging.yaml:" in row


def test_every_repository_is_named(page: str) -> None:
    table = page.partition("## Repositories")[2].partition("\n## ")[0]
    for word in ("charts/nginx-ingress/", "mybinder/Chart.yaml:", "GitHubRepoProvider", "examples/hello/"):
        assert word in table
