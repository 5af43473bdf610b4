"""The chart's registry: its rendered configuration and certificate in a real docker-registry, asked with tokens."""

from __future__ import annotations

import base64
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from tests.charts.conftest import NAMESPACE, Rendered
from tests.programs import program

from binderops.oci.tokens import Scope, TokenSigner


@pytest.fixture(scope="module")
def keys(local: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry-token")
    for key, text in local["Secret", "registry-token"]["data"].items():
        (folder / key).write_bytes(base64.b64decode(text))
    return folder


@pytest.fixture(scope="module")
def registry(local: Rendered, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    server = program("docker-registry")
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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
    try:
        deadline = time.monotonic() + 10
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the registry did not listen within 10 seconds"
            time.sleep(0.02)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:
            yield client
    finally:
        process.terminate()
        process.wait(timeout=10)


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
