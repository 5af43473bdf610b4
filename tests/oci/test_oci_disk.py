"""A registry whose disk is full or read-only: named in what a push raises, nothing pushed is lost, and it goes on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.disks import fail, fill, fill_but, repair, small_disk
from tests.oci.docker_registry import OWN_PASSWORD, OWN_USER, DockerRegistry

from binderops.errors import RegistryError
from binderops.oci.credentials import Password
from binderops.oci.manifests import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Manifest, encode
from binderops.oci.registry import Registry

pytestmark = pytest.mark.root

SIZE = 48 << 20
LAYER = 6 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, SIZE) as mounted:
        yield mounted


@pytest.fixture
def server(tmp_path: Path, disk: Path) -> Iterator[DockerRegistry]:
    (tmp_path / "registry").mkdir()
    server = DockerRegistry.with_password(tmp_path / "registry", storage=disk / "data")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
async def client(server: DockerRegistry) -> AsyncIterator[Registry]:
    async with Registry(server.running.host, Password(OWN_USER, OWN_PASSWORD), insecure=True) as opened:
        yield opened


async def push(client: Registry, tag: str, content: bytes) -> Manifest:
    layer = await client.push_blob("some/image", content, OCI_LAYER)
    config = await client.push_blob("some/image", b"{}", OCI_CONFIG)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json()],
    }
    manifest = Manifest(OCI_MANIFEST, encode(document))
    await client.put_manifest("some/image", tag, manifest)
    return manifest


async def pulled(client: Registry, tag: str) -> bytes:
    manifest = await client.get_manifest("some/image", tag)
    assert manifest is not None
    return await client.get_blob("some/image", manifest.layers[0].digest, limit=2 * LAYER)


@pytest.mark.parametrize("room", [0, LAYER // 3], ids=["none", "for-a-part"])
async def test_a_full_disk_is_named_and_goes_on_once_there_is_room(client: Registry, disk: Path, room: int) -> None:
    first, second = os.urandom(LAYER), os.urandom(LAYER)
    await push(client, "first", first)
    if room:
        fill_but(disk / "others", room)
    else:
        fill(disk / "others")
    with pytest.raises(RegistryError, match="the registry's disk is full") as refused:
        await push(client, "second", second)
    assert "make room" in str(refused.value.hint)
    assert await client.get_manifest("some/image", "second") is None
    assert await pulled(client, "first") == first
    (disk / "others").unlink()
    await push(client, "second", second)
    assert (await pulled(client, "first"), await pulled(client, "second")) == (first, second)


async def test_a_read_only_disk_is_named(client: Registry, server: DockerRegistry, disk: Path) -> None:
    first = os.urandom(LAYER)
    await push(client, "first", first)
    fail(disk)
    with pytest.raises(RegistryError, match="the registry's disk is read-only"):
        await push(client, "second", os.urandom(LAYER))
    assert await pulled(client, "first") == first
    server.stop()
    repair(disk)
    server.start()
    assert await pulled(client, "first") == first
    await push(client, "second", os.urandom(LAYER))
