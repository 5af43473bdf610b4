"""BinderSpawnerMixin over a real KubeSpawner: arguments, environment, refusals (binderhub-contract, hub side)."""

from __future__ import annotations

from typing import Any

import pytest
from kubespawner import KubeSpawner
from tornado.web import HTTPError
from traitlets.config import Config

from binderops.hub.binderspawner_mixin import BinderSpawnerMixin

BASE = "/user/binder-examples-hello-abc12345/"


class Spawner(BinderSpawnerMixin, KubeSpawner):  # type: ignore[misc]
    pass


def made(make_spawner: Any, options: dict[str, Any], **traits: Any) -> Any:
    return make_spawner(Config({"Spawner": traits}), options, Spawner)


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        ({}, []),
        ({"default_url": "/lab"}, ["default_url=/lab"]),
        ({"cors_allow_origin": "https://a.example"}, ["allow_origin=https://a.example"]),
        ({"cors_allow_origin": "*"}, ["allow_origin=*", "allow_origin_pat=.*"]),
    ],
)
async def test_arguments(make_spawner: Any, traits: dict[str, Any], expected: list[str]) -> None:
    spawner = made(make_spawner, {"token": "t"}, args=["--extra", "--NotebookApp.x=y"], **traits)
    options = [f"base_url={BASE}", "trust_xheaders=True", *expected]
    assert spawner.get_args() == [
        "--ip=0.0.0.0",
        "--port=8888",
        *(f"--NotebookApp.{option}" for option in options),
        "--extra",
        "--NotebookApp.x=y",
        *(f"--ServerApp.{option}" for option in options),
        "--ServerApp.x=y",
    ]


async def test_the_token_is_no_argument(make_spawner: Any) -> None:
    """Command lines are read by everybody on the machine."""
    spawner = made(make_spawner, {"token": "secret-of-this-launch"}, environment={"JUPYTER_TOKEN": "theirs"})
    assert spawner.get_env()["JUPYTER_TOKEN"] == "secret-of-this-launch"
    assert "secret-of-this-launch" not in str(spawner.get_args())


async def test_with_login_the_arguments_are_kubespawners(make_spawner: Any) -> None:
    spawner = made(make_spawner, {}, auth_enabled=True)
    assert spawner.get_args() == KubeSpawner.get_args(spawner)
    assert "JUPYTER_TOKEN" not in made(make_spawner, {"token": "t"}, auth_enabled=True).get_env()


async def test_environment(make_spawner: Any) -> None:
    options = {
        "token": "t",
        "image": "i",
        "repo_url": "https://github.com/a/b",
        "binder_ref_url": "https://github.com/a/b/tree/1",
        "binder_launch_host": "https://mybinder.org/",
        "binder_persistent_request": "v2/gh/a/b/1",
        "binder_request": "v2/gh/a/b/HEAD",
        "binder_client_ip": "192.0.2.1",
    }
    env = made(make_spawner, options).get_env()
    assert {key: value for key, value in env.items() if key.startswith("BINDER_")} == {
        "BINDER_REPO_URL": "https://github.com/a/b",
        "BINDER_REF_URL": "https://github.com/a/b/tree/1",
        "BINDER_LAUNCH_HOST": "https://mybinder.org/",
        "BINDER_PERSISTENT_REQUEST": "v2/gh/a/b/1",
        "BINDER_REQUEST": "v2/gh/a/b/HEAD",
        "BINDER_CLIENT_IP": "192.0.2.1",
    }
    assert env["JUPYTERHUB_SERVICE_PREFIX"] == BASE
    assert not any(key.startswith("BINDER_") for key in made(make_spawner, {"token": "t"}).get_env())


@pytest.mark.parametrize(
    ("options", "missing"),
    [({}, "token"), ({"image": "i"}, "token"), ({"token": "t"}, "image"), ({"token": "", "image": "i"}, "token")],
)
async def test_an_incomplete_launch_is_refused(make_spawner: Any, options: dict[str, str], missing: str) -> None:
    with pytest.raises(HTTPError) as refusal:
        made(make_spawner, options).start()
    assert (refusal.value.status_code, refusal.value.log_message) == (400, f"{missing} required")


@pytest.mark.parametrize("auth_enabled", [False, True])
async def test_start_takes_the_launchs_image(make_spawner: Any, monkeypatch: Any, auth_enabled: bool) -> None:
    async def started(self: Any) -> str:
        return str(self.image)

    monkeypatch.setattr(KubeSpawner, "_start", started)
    spawner = made(make_spawner, {"token": "t", "image": "registry/x:1"}, auth_enabled=auth_enabled)
    assert await spawner.start() == "registry/x:1"
