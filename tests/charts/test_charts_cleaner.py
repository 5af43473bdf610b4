"""The cleaner beside the chart's registry: its keys are upstream's, and what is rendered works together."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import helm_python
import httpx
import pytest
import yaml
from tests.charts.conftest import FIXED_TOKENS, Render, Rendered, at
from tests.oci.docker_registry import free_port, wait_for_port
from tests.programs import program

from binderops.oci.credentials import Minting
from binderops.oci.manifests import OCI_CONFIG, OCI_MANIFEST, Manifest, encode
from binderops.oci.registry import Registry
from binderops.oci.tokens import TokenSigner

CLEANER = "binderhub.imageCleaner"
DIGEST = "sha256:" + "ab" * 32


def pod(rendered: Rendered) -> dict[str, Any]:
    found: dict[str, Any] = rendered["Deployment", "registry"]["spec"]["template"]["spec"]
    return found


def cleaner(rendered: Rendered) -> dict[str, Any]:
    (found,) = [each for each in pod(rendered)["containers"] if each["name"] == "cleaner"]
    return dict(found)


@pytest.mark.parametrize(
    ("key", "value", "argument"),
    [
        ("imageCleaner.delay", 7, "--delay=7"),
        ("imageCleaner.imageGCThresholdHigh", 75.5, "--high=75.5"),
        ("imageCleaner.imageGCThresholdLow", 5, "--low=5"),
        ("registryServer.storage", "7Gi", "--capacity=7Gi"),
        (
            "imageCleaner",
            {"imageGCThresholdType": "absolute", "imageGCThresholdHigh": 40e9, "imageGCThresholdLow": 20e9},
            "--threshold-type=absolute",
        ),
    ],
)
def test_arguments(render: Render, local: Rendered, key: str, value: Any, argument: str) -> None:
    assert argument not in cleaner(local)["args"]
    assert argument in cleaner(render(at(f"binderhub.{key}", value)))["args"]


def test_its_image_its_environment_and_its_pull_secrets(render: Render) -> None:
    found = render(
        at(f"{CLEANER}.image", {"name": "q/x", "tag": "1", "pullPolicy": "Always", "pullSecrets": ["mine"]}),
        at(f"{CLEANER}.extraEnv", {"A": "1"}),
        at("binderhub.registryServer.image.pullSecrets", ["mine", "other"]),
    )
    container = cleaner(found)
    assert (container["image"], container["imagePullPolicy"]) == ("q/x:1", "Always")
    assert container["env"] == [{"name": "A", "value": "1"}]
    assert pod(found)["imagePullSecrets"] == [{"name": "mine"}, {"name": "other"}]


def test_the_base_that_builds_mount_is_kept(render: Render, local: Rendered) -> None:
    found = render(at("global.images.notebook", {"name": "localhost/binderops/notebook", "tag": DIGEST}))
    assert [argument for argument in cleaner(found)["args"] if "--keep" in argument] == [
        "--keep=local/*:HEAD",
        "--keep=*:abababababab",
    ]
    assert [argument for argument in cleaner(local)["args"] if "--keep" in argument] == ["--keep=local/*:HEAD"]


def test_switched_off_nothing_of_it_is_there(render: Render) -> None:
    found = render(at(f"{CLEANER}.enabled", False))
    assert [container["name"] for container in pod(found)["containers"]] == ["registry"]
    assert "notifications" not in found["ConfigMap", "registry"]["data"]["config.yml"]
    assert [port["name"] for port in found["Service", "registry"]["spec"]["ports"]] == ["registry"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"imageGCThresholdHigh": 50}, "imageGCThresholdLow 60 is above imageGCThresholdHigh 50"),
        ({"imageGCThresholdHigh": 40e9}, "above 100 per cent: for bytes set imageGCThresholdType to absolute"),
    ],
)
def test_thresholds_that_cannot_be_meant(render: Render, values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm_python.HelmError, match=said):
        render(at(CLEANER, values))


@contextmanager
def running(rendered: Rendered, folder: Path) -> Iterator[tuple[Registry, Path]]:
    """Registry and cleaner as they are rendered, on ports and folders of the test's."""
    storage, keys, ports = folder / "storage", folder / "keys", [free_port() for _ in range(3)]
    for made in (storage, keys):
        made.mkdir()
    for key, text in rendered["Secret", "registry-token"]["data"].items():
        (keys / key).write_bytes(base64.b64decode(text))
    config = rendered["ConfigMap", "registry"]["data"]["config.yml"]
    for there, here in (
        ("/var/lib/registry", str(storage)),
        ("/etc/registry-token", str(keys)),
        ("addr: :5000", f"addr: 127.0.0.1:{ports[0]}"),
        ("http://127.0.0.1:5002/", f"http://127.0.0.1:{ports[1]}/"),
    ):
        assert there in config
        config = config.replace(there, here)
    (folder / "config.yml").write_text(config)
    arguments = [word.replace("/var/lib/registry", str(storage)) for word in cleaner(rendered)["args"]]
    commands = [
        [program("docker-registry"), "serve", str(folder / "config.yml")],
        [sys.executable, *arguments[1:], f"--events-port={ports[1]}", f"--metrics-port={ports[2]}"],
    ]
    with (folder / "log").open("wb") as log:
        processes = [subprocess.Popen(command, stdout=log, stderr=log) for command in commands]
    try:
        for process, port in ((processes[0], ports[0]), (processes[1], ports[1]), (processes[1], ports[2])):
            wait_for_port(port, process, folder / "log")
        yield Registry(f"127.0.0.1:{ports[0]}", Minting(TokenSigner.load(keys)), insecure=True), storage
        assert "binderops_registry_cleaning_failures_total 0.0" in _page(ports[2])
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=10)


async def test_the_registry_tells_the_cleaner_of_each_use(render: Render, tmp_path: Path) -> None:
    with running(render(FIXED_TOKENS), tmp_path) as (registry, storage):
        async with registry:
            config = await registry.push_blob("r2d-a", b"{}", OCI_CONFIG)
            document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.to_json(), "layers": []}
            await registry.put_manifest("r2d-a", "1", Manifest(OCI_MANIFEST, encode(document)))
            (link,) = storage.glob("docker/registry/v2/repositories/r2d-a/_manifests/revisions/sha256/*/link")
            deadline = time.monotonic() + 10
            # The push is told of as well, perhaps after the time was set back: asked until the answer counts.
            os.utime(link, (1, 1))
            while link.stat().st_mtime == 1:
                assert time.monotonic() < deadline, "the registry told nobody within 10 seconds"
                await registry.head_manifest("r2d-a", "1")


def test_prometheus_finds_it(local: Rendered) -> None:
    service = local["Service", "registry"]
    assert service["metadata"]["annotations"] == {"prometheus.io/scrape": "true", "prometheus.io/port": "5001"}
    ports = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
    assert ports == {"registry": "registry", "metrics": "metrics"}
    assert yaml.safe_load(local["ConfigMap", "registry"]["data"]["config.yml"])["notifications"]


def _page(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
