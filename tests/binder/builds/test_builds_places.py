"""The place that a build pushes to, in the real registry: what of it becomes an image, and what stays of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.oci.docker_registry import RunningRegistry, registry, token_realm

from binderops.binder.builds.places import Places
from binderops.errors import BuildError, RegistryError
from binderops.oci.credentials import Minting
from binderops.oci.insisting import Patience
from binderops.oci.manifests import (
    EMPTY_JSON,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Manifest,
    encode,
)
from binderops.oci.registry import Registry

__all__ = ["registry", "token_realm"]

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.fixture
async def client(registry: RunningRegistry) -> AsyncIterator[Registry]:
    async with Registry(registry.host, Minting(registry.signer), insecure=True) as opened:
        yield opened


async def push(client: Registry, place: str, *, config_type: str = OCI_CONFIG, tag: str = "image", **layer: Any) -> str:
    below = await client.push_blob(place, uuid.uuid4().bytes, OCI_LAYER_GZIP)
    config = await client.push_blob(place, EMPTY_JSON, config_type)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.to_json(),
        "layers": [{**below.to_json(), **layer}],
    }
    return await client.put_manifest(place, tag, Manifest(OCI_MANIFEST, encode(document)))


def name_of(client: Registry) -> str:
    return f"{client.host}/r2d-{uuid.uuid4().hex}:abc"


async def readable(client: Registry, image: str) -> str | None:
    repository, _, tag = image.partition("/")[2].rpartition(":")
    manifest = await client.get_manifest(repository, tag)
    if manifest is None:
        return None
    for blob in (manifest.config, *manifest.layers):
        await client.get_blob(repository, blob.digest)
    return manifest.digest


def test_no_two_builds_share_a_place(registry: RunningRegistry) -> None:
    places = Places(Registry(registry.host))
    assert len({places.new("build-x") for _ in range(100)}) == 100


async def test_an_image_gets_its_name_and_its_place_is_emptied(client: Registry) -> None:
    places, image = Places(client), name_of(client)
    place = places.new("build-x")
    made = await push(client, place)
    other_tag = await push(client, place, tag="other")
    layers = (await client.get_manifest(place, made)).layers  # type: ignore[union-attr]
    assert (await places.store(place, image)).digest == made
    await places.clean(place)
    assert await client.tags(place) == []
    assert not await client.has_blob(place, layers[0].digest)
    assert await client.get_manifest(place, other_tag) is None
    assert await readable(client, image) == made
    # A second binder that comes later finds the image, though the place is empty.
    assert (await places.store(place, image)).digest == made


async def test_an_image_that_is_there_is_never_replaced(client: Registry) -> None:
    places, image = Places(client), name_of(client)
    first, second = places.new("build-x"), places.new("build-x")
    made = await push(client, first)
    await push(client, second)
    assert not (await places.store(first, image)).is_other
    stored = await places.store(second, image)
    assert (stored.digest, stored.is_other) == (made, True)
    assert not (await places.store(first, image)).is_other
    assert await readable(client, image) == made


@pytest.mark.parametrize(
    "layer",
    [{"urls": ["http://169.254.169.254/latest"]}, {"mediaType": FOREIGN}, {"mediaType": "text/plain"}],
    ids=["urls", "foreign", "text"],
)
async def test_a_layer_that_a_machine_would_fetch_elsewhere_makes_no_image(
    client: Registry, layer: dict[str, Any]
) -> None:
    places, image = Places(client), name_of(client)
    try:
        await push(client, "builds/odd", **layer)
    except RegistryError:
        assert "urls" in layer or layer["mediaType"] == FOREIGN, "the registry itself refuses it"
        return
    with pytest.raises(BuildError, match="not an image"):
        await places.store("builds/odd", image)
    assert await readable(client, image) is None


async def test_what_is_not_an_image_gets_no_name(client: Registry) -> None:
    places, image = Places(client), name_of(client)
    with pytest.raises(BuildError, match="without leaving an image"):
        await places.store("builds/none", image)
    await push(client, "builds/artifact", config_type=OCI_EMPTY)
    with pytest.raises(BuildError, match="not an image"):
        await places.store("builds/artifact", image)
    digest = await push(client, "builds/index", tag="one")
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": OCI_MANIFEST, "digest": digest, "size": 1}],
    }
    await client.put_manifest("builds/index", "image", Manifest(OCI_INDEX, encode(document)))
    with pytest.raises(BuildError, match="not an image"):
        await places.store("builds/index", image)
    await places.clean("builds/index")
    assert await client.tags("builds/index") == []
    await places.clean("")


async def test_a_place_that_cannot_be_emptied_stops_nobody() -> None:
    async with Registry("127.0.0.1:9", insecure=True, patience=Patience(away=0)) as gone:
        await Places(gone).clean("builds/x")
