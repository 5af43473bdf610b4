"""The hub of a rendered release: its ConfigMap and Secret on disk, read by JupyterHub's own loader."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub import orm
from jupyterhub.objects import Hub
from traitlets.config import Config, PyFileConfigLoader

# The ports of the namespace's Services, which Kubernetes tells every pod; by what the chart calls their names.
_PORTS = {"hub": "8081", "proxy-api": "8001", "proxy-public": "80"}
# What the configuration sets for the hub's database.
PASSWORDS = ("PGPASSWORD", "MYSQL_PWD")


def load_hub(
    config_map: Mapping[str, str], secret: Mapping[str, str], folder: Path, patch: pytest.MonkeyPatch
) -> Config:
    """What the hub's configuration file makes of the ConfigMap and the Secret (base64) of a release.

    `patch` holds what this changes of the process (environment, module path) until it is undone.
    """
    mount(folder / "config", config_map)
    mount(folder / "secret", {key: base64.b64decode(text) for key, text in secret.items()})
    mount(folder, {name: config_map[name] for name in ("jupyterhub_config.py", "z2jh.py")})
    ports = {f"{config_map[name].upper().replace('-', '_')}_SERVICE_PORT": port for name, port in _PORTS.items()}
    pod = {"POD_NAMESPACE": "binder", "HELM_RELEASE_NAME": "binder", "Z2JH_DIRECTORY": str(folder)}
    for name, value in {**ports, **pod, **dict.fromkeys(PASSWORDS, "")}.items():
        patch.setenv(name, value)
    patch.setattr(sys, "path", list(sys.path))
    patch.delitem(sys.modules, "z2jh", raising=False)
    try:
        loaded: Config = PyFileConfigLoader("jupyterhub_config.py", path=str(folder)).load_config()
    finally:
        sys.modules.pop("z2jh", None)
    return loaded


def mount(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Files as a volume has them."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def spawner_of(config: Config, patch: pytest.MonkeyPatch, kind: Any = None, options: Any = None) -> Any:
    """A real spawner of one user, with no cluster behind it."""
    patch.setattr("kubespawner.spawner.load_config", lambda **_: None)
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
    hub = Hub(public_host="", url="http://hub:8081", base_url="/hub/", api_url="http://hub:8081/hub/api", routespec="/")
    spawner = (kind or config.JupyterHub.spawner_class)(
        config=config,
        hub=hub,
        user=user,
        orm_spawner=orm_spawner,
        api_token="token-of-the-hub",
        oauth_client_id="client",
        _mock=True,
    )
    spawner.user_options = dict(options or {})
    return spawner
