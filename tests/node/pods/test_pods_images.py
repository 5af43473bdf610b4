"""Pulling by a Service's name, as a deployment does: a real registry that wants a password, behind a real Service."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.node.pods.conftest import Node, free_port, give_image
from tests.podman.tiny import TINY

from binderops.kube.client import Client
from binderops.kube.kinds import ENDPOINT_SLICE, EVENT, SECRET, SERVICE, SERVICE_ACCOUNT
from binderops.kube.objects import is_pod_ready
from binderops.node.pods.engine import engine_settings
from binderops.podman import Podman, command
from binderops.podman.commands import run

pytestmark = [pytest.mark.podman, pytest.mark.root]

HTPASSWD = "pull:$2b$04$0mGze5sB9tA8XzYCTIDoOuWyds4s5RkD7TwAJpJD4PBpsHQdxyH0W\n"  # bcrypt of: word
NAME = "registry.default.svc:5000/made/tiny"


@pytest.fixture
def registry(node: Node, tmp_path: Path) -> Iterator[int]:
    """Debian's docker-registry on the bridge's address, its user `pull` with the password `word`."""
    port = free_port()
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}},
        "http": {"addr": f"{node.config.bridge_address}:{port}", "secret": "x"},
        "auth": {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}},
    }
    (tmp_path / "config.yml").write_text(json.dumps(settings))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(tmp_path / "config.yml")], stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


async def publish(client: Client, node: Node, port: int) -> None:
    """A Service without a selector, and the slice that leads it to the registry."""
    metadata = {"name": "registry", "namespace": "default"}
    spec = {"ports": [{"name": "http", "port": 5000}]}
    await client.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    await client.create(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "registry"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [node.config.bridge_address], "conditions": {"ready": True}}],
        }
    )


async def push(node: Node) -> str:
    """Push the tiny image by the Service's name; its digest. The name takes a moment to reach the engine's hosts."""
    settings = engine_settings(node.config)
    auth = settings.folder / "test-auth.json"
    token = base64.b64encode(b"pull:word").decode()
    auth.write_text(json.dumps({"auths": {"registry.default.svc:5000": {"auth": token}}}))
    digest = settings.folder / "test-digest"
    words = ["push", "-q", "--authfile", str(auth), "--digestfile", str(digest), TINY, f"docker://{NAME}:1"]
    async with asyncio.timeout(30):
        while "registry.default.svc" not in settings.hosts.read_text():
            await asyncio.sleep(0.05)
    await run(command(settings, *words), environment=settings.environment(), timeout=60)
    auth.unlink()
    return digest.read_text().strip()


async def a_power_cut_tears_the_image(client: Client, node: Node, wait_for: Any) -> None:
    """The pulled image's program is empty when the machine is back: the image is removed, and pulled once more."""
    node.end()
    await run(node.command("stop"), environment=node.environment, timeout=60)
    storage = engine_settings(node.config).storage
    images = json.loads((storage / "overlay-images/images.json").read_bytes())
    torn = next(image for image in images if f"{NAME}:1" in (image.get("names") or []))
    program = storage / "overlay" / torn["layer"] / "diff/bin/busybox"
    whole = program.stat().st_size
    program.write_bytes(b"")
    (node.config.state / "boot-id").write_text("the run before\n")
    node.start()
    pod = await wait_for("tagged", is_pod_ready)
    assert pod["status"]["containerStatuses"][0]["imageID"].startswith(f"{NAME}@sha256:")
    events = (await client.list(EVENT, "default", fields=f"involvedObject.name={node.name}")).items
    assert [event["type"] for event in events if event["reason"] == "TornImage"] == ["Warning"]
    images = json.loads((storage / "overlay-images/images.json").read_bytes())
    layer = next(image["layer"] for image in images if f"{NAME}:1" in (image.get("names") or []))
    assert (storage / "overlay" / layer / "diff/bin/busybox").stat().st_size == whole


async def test_pulls_with_the_pods_and_the_accounts_secret(
    client: Client, node: Node, registry: int, make: Any, wait_for: Any
) -> None:
    await publish(client, node, registry)
    config = {"auths": {"registry.default.svc:5000": {"username": "pull", "password": "word"}}}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "pulls", "namespace": "default"},
        "stringData": {".dockerconfigjson": json.dumps(config)},
    }
    await client.create(secret)
    try:
        digest = await push(node)

        def reason(pod: Any) -> str:
            statuses = pod["status"].get("containerStatuses") or [{}]
            return str(statuses[0].get("state", {}).get("waiting", {}).get("reason"))

        await make("nobody", container={"image": f"{NAME}:1"})
        refused = await wait_for("nobody", lambda pod: reason(pod) == "ErrImagePull")
        message = refused["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
        assert "authentication required" in message or "unauthorized" in message, message

        await make("tagged", container={"image": f"{NAME}:1"}, imagePullSecrets=[{"name": "pulls"}])
        pod = await wait_for("tagged", is_pod_ready)
        assert pod["status"]["containerStatuses"][0]["imageID"].startswith(f"{NAME}@sha256:")

        await client.create(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "puller", "namespace": "default"},
                "imagePullSecrets": [{"name": "pulls"}],
            }
        )
        image = f"{NAME}:1@{digest}"
        await make("pinned", container={"image": image, "imagePullPolicy": "Always"}, serviceAccountName="puller")
        pod = await wait_for("pinned", is_pod_ready)
        assert pod["status"]["containerStatuses"][0]["imageID"] == f"{NAME}@{digest}"

        await a_power_cut_tears_the_image(client, node, wait_for)
    finally:
        await client.delete(SERVICE, "registry", "default")
        await client.delete(ENDPOINT_SLICE, "registry", "default")
        await client.delete(SECRET, "pulls", "default")
        await client.delete(SERVICE_ACCOUNT, "puller", "default")
        # The image that other tests start from shared the torn layer, and went with it.
        await give_image(node)
    async with Podman(node.socket) as podman:
        assert await podman.images.exists(f"{NAME}:1")
