"""A whole binder for tests: the real API, registry, git server and hub, and the binder on loopback."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from tests.binder.cluster import NAMESPACE, Cluster, ClusterThread
from tests.git.git_server import git_server
from tests.oci.docker_registry import RunningRegistry, registry, token_realm

from binderops.binder.application import Binder, open_binder
from binderops.binder.settings import Place, from_values
from binderops.binder.web.app import make_app, make_token_app

__all__ = ["git_server", "registry", "token_realm"]

LOCAL_TOKEN = "the-release-token"
PULL_PASSWORD = "the-pull-password"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    thread = ClusterThread(tmp_path_factory.mktemp("cluster"))
    yield thread.start()
    thread.stop()


@dataclass(frozen=True)
class RunningHub:
    url: str
    token: str


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    folder = tmp_path_factory.mktemp("hub")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    token = secrets.token_hex(16)
    config = Path(__file__).parent / "jupyterhub_config.py"
    environment = {**os.environ, "TEST_HUB_URL": url, "TEST_HUB_TOKEN": token}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "--config", str(config)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for_hub(url, process, folder / "log")
        yield RunningHub(url, token)
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_for_hub(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{url}hub/api/health", timeout=2):
            return
        time.sleep(0.1)
    raise AssertionError(f"the hub did not start: {log.read_text()[-3000:]}")


@dataclass(frozen=True)
class Served:
    """A binder that answers at `url`, and whose token server answers at `token_url`."""

    url: str
    binder: Binder
    token_url: str = ""

    async def events(self, path: str, **options: Any) -> list[dict[str, Any]]:
        """All events of a stream up to `ready` or `failed`."""
        import json

        found = []
        headers = {"Accept": "text/event-stream", **options.pop("headers", {})}
        async with (
            httpx.AsyncClient(timeout=60, trust_env=False) as client,
            client.stream("GET", f"{self.url}{path}", headers=headers, **options) as answer,
        ):
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    found.append(json.loads(line.removeprefix("data: ")))
                    if found[-1].get("phase") in {"ready", "failed"}:
                        break
        return found


class MakeBinder:
    """Starts binders with settings of a test's own."""

    def __init__(self, root: Path, cluster: Cluster, registry: RunningRegistry, hub_url: str, hub_token: str) -> None:
        self._root = root
        self._cluster = cluster
        self._registry = registry
        self._hub_url = hub_url
        self._hub_token = hub_token

    @asynccontextmanager
    async def __call__(
        self, token_port: int = 0, values: dict[str, Any] | None = None, **traits: Any
    ) -> AsyncIterator[Served]:
        values = values or {}
        config = {
            **values.pop("config", {}),
            "BinderHub": {
                "hub_url": self._hub_url,
                "hub_url_local": self._hub_url,
                "repo_providers": {"gh": "GitHubRepoProvider", "git": "GitRepoProvider"},
                **traits,
            },
        }
        settings = from_values(
            {
                "global": {
                    "domain": "binder.test",
                    "images": {
                        "build": {"name": "localhost/binderops/build", "tag": "1"},
                        "notebook": {"name": "localhost/binderops/notebook", "tag": "1"},
                    },
                },
                "registry": {"name": self._registry.host},
                "trustedProxies": {"cidrs": ["127.0.0.1/32"]},
                "networkPolicy": {"egress": {"internalHosts": [{"host": "127.0.0.1", "cidr": "127.0.0.1/32"}]}},
                **values,
                "config": config,
            },
            Place(NAMESPACE, NAMESPACE, "release", hub_api_token=self._hub_token, root=self._root),
        )
        async with (
            self._cluster.client() as kube,
            open_binder(settings, kube) as binder,
            listening(make_app(binder), 0) as url,
            listening(make_token_app(binder), token_port) as token_url,
        ):
            yield Served(url, binder, token_url)


@asynccontextmanager
async def listening(app: Starlette, port: int) -> AsyncIterator[str]:
    server = uvicorn.Server(
        uvicorn.Config(
            app, port=port, lifespan="off", log_config=None, proxy_headers=False, timeout_graceful_shutdown=1
        )
    )
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not serving.done(), "the binder's port is taken"
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
def secrets_folder(tmp_path: Path, registry: RunningRegistry) -> Path:
    """What the chart mounts at /etc/binderhub."""
    (tmp_path / "registry-token").symlink_to(registry.keys)
    (tmp_path / "binder-local").mkdir()
    (tmp_path / "binder-local" / "token").write_text(LOCAL_TOKEN)
    (tmp_path / "registry-pull").mkdir()
    config = {"auths": {registry.host: {"username": "pull", "password": PULL_PASSWORD}}}
    import json

    (tmp_path / "registry-pull" / ".dockerconfigjson").write_text(json.dumps(config))
    return tmp_path


@pytest.fixture
def make_binder(secrets_folder: Path, cluster: Cluster, registry: RunningRegistry, hub: RunningHub) -> MakeBinder:
    return MakeBinder(secrets_folder, cluster, registry, hub.url, hub.token)


@pytest.fixture
async def served(make_binder: MakeBinder, token_realm: str) -> AsyncIterator[Served]:
    """A binder where the registry's token realm says it is."""
    async with make_binder(
        token_port=httpx.URL(token_realm).port or 0,
        repo_providers={"gh": "GitHubRepoProvider", "git": "GitRepoProvider", "local": "LocalRepoProvider"},
        # Tests ask more often than people.
        values={"config": {"RateLimiter": {"limit": 0}, "Launcher": {"retries": 2, "retry_delay": 0.05}}},
    ) as running:
        yield running
