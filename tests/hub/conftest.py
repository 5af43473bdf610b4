"""The hub as the chart makes it, for the tests of this folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from tests.hub.release import load_hub, spawner_of
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[2]

LoadConfig = Callable[..., Config]
MakeSpawner = Callable[..., Any]


@pytest.fixture(scope="session")
def chart_archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The meta chart, packed from a copy."""
    folder = tmp_path_factory.mktemp("hub-charts")
    for part in ("mybinder", "charts", "scripts"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, str(folder / "scripts/charts.py")], check=True, timeout=60, capture_output=True)
    return Path(helm_python.package(folder / "mybinder", destination=str(folder))).read_bytes()


@pytest.fixture
def load_config(chart_archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadConfig:
    """load_config(jupyterhub=values) → what the hub's configuration file makes of a release with these values."""

    def load(jupyterhub: Mapping[str, Any] | None = None, **values: Any) -> Config:
        merged = {"global": {"domain": "binder.localhost"}, "binderhub": {"jupyterhub": jupyterhub or {}}, **values}
        with helm_python.Chart.load_archive(chart_archive) as chart:
            files = chart.render(merged, name="binder", namespace="binder")
        folder = "charts/binderhub/charts/jupyterhub/templates/hub"
        config_map, secret = (
            yaml.load(files[f"mybinder/{folder}/{name}.yaml"], Loader=yaml.CSafeLoader)["data"]
            for name in ("configmap", "secret")
        )
        return load_hub(config_map, secret, tmp_path, monkeypatch)

    return load


@pytest.fixture
def make_spawner(monkeypatch: pytest.MonkeyPatch) -> MakeSpawner:
    """make_spawner(config, options, kind) → a real spawner of one user, with no cluster behind it."""

    def make(config: Config, options: Mapping[str, Any] | None = None, kind: Any = None) -> Any:
        return spawner_of(config, monkeypatch, kind, options)

    return make
