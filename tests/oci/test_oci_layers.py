"""Extending an image in the real registry, and what the layer holds."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.oci.docker_registry import RunningRegistry

from binderops.errors import RegistryError
from binderops.oci.credentials import Minting
from binderops.oci.layers import ConfigChange, append_layer, content_layer
from binderops.oci.manifests import (
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Manifest,
    encode,
)
from binderops.oci.registry import Registry

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"


@pytest.fixture
async def client(registry: RunningRegistry) -> AsyncIterator[Registry]:
    async with Registry(registry.host, Minting(registry.signer), insecure=True) as opened:
        yield opened


def archive(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o4755
            tar.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return path


def test_a_layer_has_its_parents_owners_and_whiteouts(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.tar.gz", {"a.txt": b"a", "sub/deep/b.txt": b"b"}, {"link": "a.txt"})
    layer = content_layer(source, tmp_path / "layer.tar.gz", removed=["old.txt", "sub/gone"])
    with tarfile.open(layer.path) as tar:
        found = {entry.name: entry for entry in tar}
    order = list(found)
    assert order[:2] == ["home", "home/jovyan"]
    assert (found["home"].uid, found["home/jovyan"].uid, found["home/jovyan"].mode) == (0, 1000, 0o755)
    assert order.index("home/jovyan/sub") < order.index("home/jovyan/sub/deep/b.txt")
    assert {"home/jovyan/.wh.old.txt", "home/jovyan/sub/.wh.gone", "home/jovyan/link"} <= set(order)
    assert (found["home/jovyan/a.txt"].uid, found["home/jovyan/a.txt"].mode) == (1000, 0o755)
    assert found["home/jovyan/sub/deep"].uid == 1000
    deep = content_layer(source, tmp_path / "deep.tar.gz", removed=["one/two/gone"])
    with tarfile.open(deep.path) as tar:
        assert {entry.name: entry.uid for entry in tar}["home/jovyan/one"] == 1000
    content = gzip.decompress(layer.path.read_bytes())
    assert layer.diff_id == "sha256:" + hashlib.sha256(content).hexdigest()
    again = content_layer(source, tmp_path / "again.tar.gz", removed=["old.txt", "sub/gone"])
    assert again.path.read_bytes() == layer.path.read_bytes()


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", ".wh.x", "a/.wh..wh..opq"])
def test_what_reaches_outside_is_refused(tmp_path: Path, name: str) -> None:
    source = archive(tmp_path / "a.tar.gz", {name: b"x"})
    with pytest.raises(RegistryError, match="reaches outside"):
        content_layer(source, tmp_path / "layer.tar.gz")


@pytest.mark.parametrize(
    ("manifest_type", "config_type", "layer_type"),
    [(OCI_MANIFEST, OCI_CONFIG, OCI_LAYER_GZIP), (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER_GZIP)],
)
async def test_an_image_is_extended_with_its_own_media_types(
    client: Registry, tmp_path: Path, manifest_type: str, config_type: str, layer_type: str
) -> None:
    base, target = f"base/{uuid.uuid4().hex}", f"target/{uuid.uuid4().hex}"
    below = await client.push_blob(base, gzip.compress(uuid.uuid4().bytes), layer_type)
    settings = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin", "X=1"], "Labels": {"kept": "yes"}},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
    }
    config = await client.push_blob(base, encode(settings), config_type)
    document = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": config.to_json(),
        "layers": [below.to_json()],
    }
    await client.put_manifest(base, "1", Manifest(manifest_type, encode(document)))

    layer = content_layer(archive(tmp_path / "a.tar.gz", {"a": b"a"}), tmp_path / "layer.tar.gz")
    change = ConfigChange(labels={"ref": "abc"}, env={"X": "2", "Y": "3"}, working_dir="/home/jovyan")
    digest = await append_layer(client, base=(base, "1"), target=(target, "2"), layer=layer, change=change)

    extended = await client.get_manifest(target, "2")
    assert extended
    assert (extended.digest, extended.media_type) == (digest, manifest_type)
    assert [each.media_type for each in extended.layers] == [layer_type, layer_type]
    assert extended.layers[0] == below
    assert await client.get_blob(target, extended.layers[1].digest) == layer.path.read_bytes()
    made = json.loads(await client.get_blob(target, extended.config.digest))
    assert made["config"] == {
        "Env": ["PATH=/bin", "X=2", "Y=3"],
        "Labels": {"kept": "yes", "ref": "abc"},
        "WorkingDir": "/home/jovyan",
    }
    assert made["rootfs"]["diff_ids"] == ["sha256:" + "1" * 64, layer.diff_id]


async def test_an_image_that_is_not_there(client: Registry, tmp_path: Path) -> None:
    layer = content_layer(archive(tmp_path / "a.tar.gz", {"a": b"a"}), tmp_path / "layer.tar.gz")
    with pytest.raises(RegistryError, match="is not there"):
        await append_layer(client, base=("none", "1"), target=("none", "2"), layer=layer)
