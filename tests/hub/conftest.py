"""The hub as the chart makes it: its rendered ConfigMap and Secret on disk, read by JupyterHub's own loader."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import helm_python
import pytest
import yaml
from jupyterhub import orm
from jupyterhub.objects import Hub
from traitlets.config import Config, PyFileConfigLoader

ROOT = Path(__file__).resolve().parents[2]
# What Kubernetes tells every pod about the namespace's Services.
SERVICE_VARIABLES = {"HUB_SERVICE_PORT": "8081", "PROXY_API_SERVICE_PORT": "8001", "PROXY_PUBLIC_SERVICE_PORT": "80"}

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
def load_config(chart_archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadConfig]:
    """load_config(jupyterhub=values) → what the hub's configuration file makes of a release with these values."""

    def load(jupyterhub: Mapping[str, Any] | None = None, **values: Any) -> Config:
        merged = {"global": {"domain": "binder.localhost"}, "binderhub": {"jupyterhub": jupyterhub or {}}, **values}
        with helm_python.Chart.load_archive(chart_archive) as chart:
            files = chart.render(merged, name="binder", namespace="binder")
        folder = "charts/binderhub/charts/jupyterhub/templates/hub"
        config_map = yaml.safe_load(files[f"mybinder/{folder}/configmap.yaml"])["data"]
        secret = yaml.safe_load(files[f"mybinder/{folder}/secret.yaml"])["data"]
        mount(tmp_path / "config", config_map)
        mount(tmp_path / "secret", {key: base64.b64decode(text).decode() for key, text in secret.items()})
        for name in ("jupyterhub_config.py", "z2jh.py"):
            (tmp_path / name).write_text(config_map[name])
        for name, value in {**SERVICE_VARIABLES, "POD_NAMESPACE": "binder", "HELM_RELEASE_NAME": "binder"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("Z2JH_DIRECTORY", str(tmp_path))
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.delitem(sys.modules, "z2jh", raising=False)
        loaded: Config = PyFileConfigLoader("jupyterhub_config.py", path=str(tmp_path)).load_config()
        return loaded

    yield load
    sys.modules.pop("z2jh", None)


def mount(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.fixture
def make_spawner(monkeypatch: pytest.MonkeyPatch) -> MakeSpawner:
    """make_spawner(config, options, kind) → a real spawner of one user, with no cluster behind it."""
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)

    def make(config: Config, options: Mapping[str, Any] | None = None, kind: Any = None) -> Any:
        user = SimpleNamespace(
            name="binder-examples-hello-abc12345",
            url="/user/binder-examples-hello-abc12345/",
            id=1,
            settings={},
            server=None,
        )
        orm_spawner = SimpleNamespace(
            name="", server=orm.Server(proto="http", ip="", port=8888, base_url=user.url, cookie_name=""), state={}
        )
        spawner = (kind or config.JupyterHub.spawner_class)(
            config=config,
            hub=Hub(
                public_host="",
                url="http://hub:8081",
                base_url="/hub/",
                api_url="http://hub:8081/hub/api",
                routespec="/",
            ),
            user=user,
            orm_spawner=orm_spawner,
            api_token="token-of-the-hub",
            oauth_client_id="client",
            _mock=True,
        )
        spawner.user_options = dict(options or {})
        return spawner

    return make
