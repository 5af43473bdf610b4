"""The chart's registry: its rendered configuration and certificate in a real docker-registry, asked with tokens."""

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from tests.charts.conftest import NAMESPACE, Rendered
from tests.oci.docker_registry import free_port
from tests.programs import program

from binderops.oci.scopes import Scope
from binderops.oci.tokens import TokenSigner


@pytest.fixture(scope="module")
def keys(local: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry-token")
    for key, text in local["Secret", "registry-token"]["data"].items():
        (folder / key).write_bytes(base64.b64decode(text))
    return folder


@dataclass(frozen=True)
class Running:
    port: int
    process: subprocess.Popen[bytes]

    @property
    def is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def running(local: Rendered, keys: Path, folder: Path) -> Iterator[Running]:
    """The rendered configuration in a docker-registry on loopback."""
    server = program("docker-registry")
    port = free_port()
    config = local["ConfigMap", "registry"]["data"]["config.yml"]
    for there, here in (
        ("/var/lib/registry", str(folder / "storage")),
        ("/etc/registry-token", str(keys)),
        ("addr: :5000", f"addr: 127.0.0.1:{port}"),
    ):
        assert there in config
        config = config.replace(there, here)
    (folder / "config.yml").write_text(config)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([server, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    found = Running(port, process)
    try:
        deadline = time.monotonic() + 10
        while not found.is_listening:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the registry did not listen within 10 seconds"
            time.sleep(0.02)
        yield found
    finally:
        process.kill()
        process.wait(timeout=10)


@pytest.fixture(scope="module")
def registry(local: Rendered, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        running(local, keys, tmp_path_factory.mktemp("registry")) as found,
        httpx.Client(base_url=f"http://127.0.0.1:{found.port}", trust_env=False, timeout=10) as client,
    ):
        yield client


def test_it_sends_to_the_binders_own_port_for_a_token(registry: httpx.Client, local: Rendered) -> None:
    answer = registry.get("/v2/x/y/manifests/z")
    assert answer.status_code == 401
    realm = f"http://registry-token.{NAMESPACE}.svc/registry/token"
    assert f'realm="{realm}",service="registry"' in answer.headers["www-authenticate"]
    ports = local["Deployment", "binder"]["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert {port["name"]: port["containerPort"] for port in ports} == {"binder": 8585, "registry-token": 8586}


def test_it_trusts_the_releases_key(registry: httpx.Client, keys: Path) -> None:
    signer = TokenSigner.load(keys)
    push = {"Authorization": f"Bearer {signer.mint([Scope.push('x/y')])}"}
    pull = {"Authorization": f"Bearer {signer.mint([Scope.pull('x/y')])}"}
    assert registry.post("/v2/x/y/blobs/uploads/", headers=push).status_code == 202
    assert registry.post("/v2/x/y/blobs/uploads/", headers=pull).status_code == 401
    assert registry.get("/v2/x/y/manifests/z", headers=pull).status_code == 404


def test_a_push_under_way_is_finished_when_it_is_told_to_end(local: Rendered, keys: Path, tmp_path: Path) -> None:
    authorization = {"Authorization": f"Bearer {TokenSigner.load(keys).mint([Scope.push('x/y')])}"}
    content = b"x" * (1 << 20)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with running(local, keys, tmp_path) as found:
        base = f"http://127.0.0.1:{found.port}"
        started = httpx.post(f"{base}/v2/x/y/blobs/uploads/", headers=authorization, trust_env=False)
        connection = http.client.HTTPConnection("127.0.0.1", found.port, timeout=10)
        connection.putrequest("PUT", f"{started.headers['location']}&digest={digest}")
        for name, value in {**authorization, "Content-Length": str(len(content))}.items():
            connection.putheader(name, value)
        connection.endheaders(content[: len(content) // 2])
        while not list(tmp_path.glob("storage/**/_uploads/*/data")):
            assert found.process.poll() is None
            time.sleep(0.01)
        found.process.terminate()
        deadline = time.monotonic() + 10
        while found.is_listening:
            assert time.monotonic() < deadline, "it takes new connections still"
            time.sleep(0.01)
        connection.send(content[len(content) // 2 :])
        assert connection.getresponse().status == 201
        connection.close()
        assert found.process.wait(timeout=10) == 0
    assert (tmp_path / f"storage/docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}/data").stat().st_size


def test_a_pod_has_the_time_to_finish_pushes(local: Rendered) -> None:
    drain = yaml.safe_load(local["ConfigMap", "registry"]["data"]["config.yml"])["http"]["draintimeout"]
    pod = local["Deployment", "registry"]["spec"]["template"]["spec"]
    assert int(drain.removesuffix("s")) + 5 <= pod["terminationGracePeriodSeconds"] <= 30


def test_no_cache_answers_for_what_was_deleted(local: Rendered) -> None:
    storage = yaml.safe_load(local["ConfigMap", "registry"]["data"]["config.yml"])["storage"]
    assert storage["delete"] == {"enabled": True}
    assert "cache" not in storage


def test_only_the_binder_has_the_signing_key(local: Rendered) -> None:
    holders = {}
    for name, obj in local.of_kind("Deployment").items():
        for volume in obj["spec"]["template"]["spec"].get("volumes", []):
            if volume.get("secret", {}).get("secretName") == "registry-token":
                holders[name] = [item["key"] for item in volume["secret"].get("items", [])]
    assert holders == {"binder": [], "registry": ["tls.crt"]}
