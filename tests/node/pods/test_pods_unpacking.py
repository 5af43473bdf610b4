"""An image that unpacks to more than the disk has: its pull ends before the disk is low, and leaves nothing."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.disks import small_disk
from tests.oci.docker_registry import OWN_PASSWORD, OWN_USER, DockerRegistry
from tests.podman.tiny import private_engine

from binderops.errors import PullError
from binderops.node.pods.unpacking import PullRoom
from binderops.node.pods.usage import room_of
from binderops.oci.credentials import Password
from binderops.oci.manifests import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Manifest
from binderops.oci.registry import Registry
from binderops.podman import EngineSettings, Podman

pytestmark = [pytest.mark.podman, pytest.mark.root]

MIB = 1 << 20
DISK, ROOM, HUGE = 4096 * MIB, 700 * MIB, 1024 * MIB
"""A disk of which little is free, so that the layer need not be large; low is a tenth of it."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineSettings]:
    """An engine whose store lies on a small disk."""
    with small_disk(tmp_path, DISK) as disk, private_engine(disk / "of") as settings:
        leave(disk, ROOM)
        yield settings


def leave(disk: Path, room: int) -> Path:
    """Takes all of a disk's room but so many bytes: by a file, which it returns."""
    filler = disk / f"all-but-{room}"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room_of(disk).free - room)
    return filler


@pytest.fixture
async def podman(engine: EngineSettings) -> AsyncIterator[Podman]:
    async with Podman(engine.socket) as client:
        yield client


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    folder = tmp_path / "registry"
    folder.mkdir()
    server = DockerRegistry.with_password(folder)
    server.start()
    try:
        async with Registry(server.running.host, Password(OWN_USER, OWN_PASSWORD), insecure=True) as opened:
            yield opened
    finally:
        server.stop()


async def publish(registry: Registry, repository: str, zeros: int) -> str:
    """An image of one layer that holds a file of so many zeros; its name."""
    packed, whole = io.BytesIO(), hashlib.sha256()

    class Hashing(io.RawIOBase):
        """What goes through it into the compressed layer."""

        def __init__(self, target: gzip.GzipFile) -> None:
            self.target = target

        def writable(self) -> bool:
            return True

        def write(self, data: bytes, /) -> int:  # type: ignore[override]
            whole.update(data)
            return self.target.write(data)

    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as compressed,
        tarfile.open(fileobj=Hashing(compressed), mode="w|", bufsize=MIB) as archive,
    ):
        entry = tarfile.TarInfo("zeros")
        entry.size = zeros
        with Path("/dev/zero").open("rb") as source:
            archive.addfile(entry, source)
    layer = await registry.push_blob(repository, packed.getvalue(), OCI_LAYER_GZIP)
    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{whole.hexdigest()}"]},
    }
    config = await registry.push_blob(repository, json.dumps(configuration).encode(), OCI_CONFIG)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json()],
    }
    await registry.put_manifest(repository, "1", Manifest(OCI_MANIFEST, json.dumps(document).encode()))
    return f"{registry.host}/{repository}:1"


class Watched:
    """The disk's room, and the least that was ever seen of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.least = room_of(folder).free

    def look(self) -> None:
        self.least = min(self.least, room_of(self._folder).free)

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(0.005)


async def test_a_pull_ends_before_the_disk_is_low(engine: EngineSettings, podman: Podman, registry: Registry) -> None:
    disk = engine.folder
    login = (OWN_USER, OWN_PASSWORD)
    small, huge = await publish(registry, "small", MIB), await publish(registry, "huge", HUGE)
    room = PullRoom(engine, lambda: room_of(disk))
    free = room_of(disk).free

    async def pull(name: str) -> str:
        return await podman.images.pull(name, credentials=login, tls_verify=False)

    watched = Watched(disk)
    watching = asyncio.create_task(watched.watch())
    with pytest.raises(PullError, match="no space left"):
        await pull(huge)
    assert watched.least < room_of(disk).least, "without the guard it takes all there is"
    await _has_room(disk, free)

    watched.least = free
    with pytest.raises(PullError) as stopped:
        await room.bounded(huge, pull(huge))
    assert "the pull was stopped" in str(stopped.value.why) and "unpacks to more" in str(stopped.value.why)
    await _has_room(disk, free)
    assert watched.least > 0
    assert watched.least >= room_of(disk).least, "nobody is evicted for it"
    watching.cancel()

    assert await room.bounded(small, pull(small)), "others are pulled"
    listed = [name for image in await podman.images.list_all() for name in image.get("RepoTags") or []]
    assert small in listed and huge not in listed


async def test_where_there_is_no_room_nothing_is_pulled(
    engine: EngineSettings, podman: Podman, registry: Registry
) -> None:
    small = await publish(registry, "small", MIB)
    filler = leave(engine.folder, room_of(engine.folder).least_for_pulls - MIB)
    room = PullRoom(engine, lambda: room_of(engine.folder))
    login = (OWN_USER, OWN_PASSWORD)
    with pytest.raises(PullError, match="cannot pull"):
        await room.bounded(small, podman.images.pull(small, credentials=login, tls_verify=False))
    filler.unlink()
    await room.bounded(small, podman.images.pull(small, credentials=login, tls_verify=False))


async def test_an_image_of_many_files_is_one_of_many_bytes(engine: EngineSettings) -> None:
    waited = asyncio.get_running_loop().create_future()
    room = room_of(engine.folder)
    few = PullRoom(engine, lambda: room._replace(free_inodes=room.inodes // 20))

    async def pull() -> str:
        return str(await waited)

    with pytest.raises(PullError) as stopped:
        await few.bounded("x", pull())
    assert f"{room.inodes // 20} inodes of the node's disk are free" in str(stopped.value.why)


async def _has_room(disk: Path, free: int) -> None:
    """The engine removes what is half unpacked, and the file system gives the blocks back in its own time."""
    async with asyncio.timeout(30):
        while room_of(disk).free < free - 8 * MIB:
            await asyncio.sleep(0.1)
