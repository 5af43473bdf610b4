"""The notebook base comes into the registry by itself, once, and builds may then mount it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.binder.build_pods import build_pod_of
from tests.binder.cluster import Cluster, Run
from tests.binder.conftest import Served
from tests.oci.docker_registry import RunningRegistry

from binderops.binder.builds.seeding import BaseSeeding
from binderops.binder.settings import Settings
from binderops.binder.values import ImageName
from binderops.build.layout import Layout
from binderops.build.places import PodPlaces
from binderops.build.pushing import Login
from binderops.build.seeding import seed
from binderops.oci.credentials import Password
from binderops.oci.manifests import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from binderops.oci.registry import Registry
from binderops.oci.tokens import Grants

TAG = "0123456789ab"


@pytest.fixture
def places(tmp_path: Path) -> PodPlaces:
    """A pod that sees a base of two layers."""
    places = PodPlaces(base=tmp_path / "base")
    layout = Layout(places.layout)

    def keep(content: bytes, media_type: str) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        layout.blob(digest).parent.mkdir(parents=True, exist_ok=True)
        layout.blob(digest).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    contents = [uuid.uuid4().bytes * 1000, uuid.uuid4().bytes * 1000]
    diff_ids = ["sha256:" + hashlib.sha256(content).hexdigest() for content in contents]
    config = keep(json.dumps({"rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode(), OCI_CONFIG)
    layers = [keep(gzip.compress(content), OCI_LAYER_GZIP) for content in contents]
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
    manifest = keep(json.dumps(document).encode(), OCI_MANIFEST)
    (layout.root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    return places


def with_base(settings: Settings) -> tuple[Settings, str]:
    """Settings with a base of this test's own, and its repository."""
    repository = f"binderops/notebook-{uuid.uuid4().hex[:8]}"
    common = settings.common.model_copy(deep=True)
    common.images.notebook = ImageName(name=f"localhost/{repository}", tag=f"sha256:{TAG}{'0' * 52}")
    common.machine.build_base_store = "/somewhere/build-base/storage"
    return replace(settings, common=common), repository


def seeder(served: Served, settings: Settings, **options: Any) -> BaseSeeding:
    binder = served.binder
    return BaseSeeding(
        settings,
        binder.pods,
        binder.registry,
        binder.builds._places,
        binder.credentials,
        binder.metrics,
        first_pause=0.05,
        **options,
    )


@asynccontextmanager
async def running(seeding: BaseSeeding) -> AsyncIterator[None]:
    task = asyncio.create_task(seeding.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.05)


def program(places: PodPlaces) -> Callable[[Run], Awaitable[int]]:
    """What the pod runs: the real program, with what its manifest gives it."""

    async def script(run: Run) -> int:
        container = run.pod["spec"]["containers"][0]
        assert container["command"] == ["python", "-m", "binderops.build.seeding"]
        environment = {item["name"]: item["value"] for item in container["env"]}
        login = Login.from_json(environment["CONTAINER_ENGINE_REGISTRY_CREDENTIALS"])
        lines: list[str] = []
        await seed(container["args"][0], places, login, tell=lines.append)
        await run.write("\n".join(lines).encode())
        return 0

    return script


async def test_a_registry_without_the_base_gets_it_and_builds_mount_it(
    served: Served, cluster: Cluster, registry: RunningRegistry, places: PodPlaces
) -> None:
    settings, repository = with_base(served.binder.settings)
    before = len(cluster.created)
    cluster.on_build(f"{registry.host}/{repository}:{TAG}", program(places))

    async def is_there() -> bool:
        return await served.binder.registry.head_manifest(repository, TAG) is not None

    def seeded() -> float | None:
        return served.binder.metrics.registry.get_sample_value("binderops_base_seedings_total", {"status": "success"})

    async with running(seeder(served, settings, check_seconds=0.1)):
        await until(is_there)
        first = await served.binder.registry.head_manifest(repository, TAG)
        assert first is not None
        assert first.digest == Layout(places.layout).manifest().digest

        # What a build may do: read the base, write its own image.
        grants = Grants(pull=frozenset({repository}), push=frozenset({"r2d-mounts"}))
        assert served.binder.credentials is not None
        password = served.binder.credentials.mint("build-x", grants, seconds=60)
        async with (
            build_pod_of(served, cluster, "build-x", "r2d-mounts"),
            Registry(registry.host, Password("build", password), insecure=True) as builder,
        ):
            for layer in Layout(places.layout).manifest().layers:
                assert not await builder.has_blob("r2d-mounts", layer.digest)
                assert await builder.mount_blob("r2d-mounts", layer.digest, source=repository)
                assert await builder.has_blob("r2d-mounts", layer.digest)

        await until(lambda: _is(seeded() == 1))
        await served.binder.registry.delete_manifest(repository, first.digest)
        await until(lambda: _is(seeded() == 2))
        assert await is_there()
        pods = [pod for pod in cluster.created[before:] if pod["metadata"]["name"] == f"seed-base-{TAG}"]
        assert len(pods) == 2
        assert pods[0]["spec"]["hostUsers"] is False
        assert pods[0]["spec"]["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert served.binder.metrics.registry.get_sample_value("binderops_base_present") == 1


async def test_a_pod_that_fails_is_tried_again_and_told(
    served: Served, cluster: Cluster, registry: RunningRegistry, places: PodPlaces, capfd: pytest.CaptureFixture[str]
) -> None:
    settings, repository = with_base(served.binder.settings)
    attempts: list[str] = []

    async def script(run: Run) -> int:
        attempts.append(run.pod["metadata"]["uid"])
        if len(attempts) < 3:
            await run.write(b"the disk is full\n")
            return 1
        return await program(places)(run)

    cluster.on_build(f"{registry.host}/{repository}:{TAG}", script)

    async def is_there() -> bool:
        return await served.binder.registry.head_manifest(repository, TAG) is not None

    async with running(seeder(served, settings)):
        await until(is_there)
    assert len(set(attempts)) == 3
    told = capfd.readouterr()
    assert "the disk is full" in told.out + told.err


async def test_a_cluster_has_no_base_to_send(served: Served, cluster: Cluster) -> None:
    before = len(cluster.created)
    settings, _ = with_base(served.binder.settings)
    settings.common.machine.build_base_store = ""
    # It ends at once: there is nothing to look after.
    await asyncio.wait_for(seeder(served, settings).run(), 5)
    assert len(cluster.created) == before


async def _is(value: bool) -> bool:
    return value
