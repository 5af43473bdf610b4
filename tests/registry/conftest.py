"""A real docker-registry that tells of its use, as the chart has it, and the cleaner beside it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.oci.docker_registry import free_port, wait_for_port
from tests.programs import program

from binderops.oci.manifests import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Manifest, encode
from binderops.oci.registry import Registry
from binderops.registry.budget import Thresholds
from binderops.registry.cleaner import Budget, Cleaner
from binderops.registry.metrics import Metrics
from binderops.registry.storage import LINK, REVISIONS, Storage
from binderops.registry.sweeping import SETTLE_SECONDS
from binderops.registry.uses import Uses, listen

HOUR = 3600.0


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.02)


@dataclass
class Clock:
    """A time that tests move."""

    now: float
    pauses: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


@dataclass
class Scene:
    """One registry, its storage, what it told, and a client."""

    storage: Storage
    uses: Uses
    client: Registry
    clock: Clock
    metrics: Metrics = field(default_factory=Metrics)

    async def push(self, repository: str, tag: str, *layers: bytes, names: str = "") -> Manifest:
        """Push an image of these layers; `names`: a digest that it names by an annotation, as records do."""
        pushed = [await self.client.push_blob(repository, layer, OCI_LAYER) for layer in layers]
        described = await self.client.push_blob(repository, f"{repository}:{tag}".encode(), OCI_CONFIG)
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described.to_json(),
            "layers": [layer.to_json() for layer in pushed],
            **({"annotations": {"image": names}} if names else {}),
        }
        manifest = Manifest(OCI_MANIFEST, encode(document))
        await self.client.put_manifest(repository, tag, manifest)
        return manifest

    async def is_whole(self, repository: str, tag: str) -> bool:
        """Whether an image can be pulled with all that it needs."""
        manifest = await self.client.get_manifest(repository, tag)
        if manifest is None:
            return False
        for blob in (manifest.config, *manifest.layers):
            assert await self.client.get_blob(repository, blob.digest, limit=64 << 20)
        return True

    async def told(self) -> None:
        """Wait until the registry has told of everything that was done: of one more question, asked last."""
        mark = await self.push("told/mark", "1", b"mark")
        link = self.link("told/mark", mark)
        os.utime(link, (1, 1))
        await self.client.head_manifest("told/mark", "1")
        await until(lambda: link.stat().st_mtime > 1)

    def settle(self, cleaner: Cleaner, *, looks: int = 3) -> None:
        """Look again as often as it takes until what was put aside is gone."""
        for _ in range(looks):
            self.look(cleaner, seconds=SETTLE_SECONDS)

    def link(self, repository: str, manifest: Manifest) -> Path:
        """The file whose time is the image's last use."""
        return self.storage.repositories / repository / REVISIONS / manifest.digest.removeprefix("sha256:") / LINK

    def used(self, repository: str, manifest: Manifest, *, hours_ago: float) -> None:
        """Have an image used last so long ago (once the registry has told of what was done with it before)."""
        link = self.link(repository, manifest)
        os.utime(link, (self.clock.now - hours_ago * HOUR,) * 2)

    def age(self, hours: float) -> None:
        """Have everything in the storage written so long ago."""
        moment = self.clock.now - hours * HOUR
        for place, _, files in os.walk(self.storage.root):
            for path in (place, *(f"{place}/{file}" for file in files)):
                os.utime(path, (moment, moment))

    def cleaner(
        self, *, high: float = 1e12, low: float = 1e12, kept: tuple[str, ...] = (), delay: float = 0
    ) -> Cleaner:
        """With thresholds in bytes."""
        return self.cleaner_within(Thresholds("absolute", high, low, 0), kept=kept, delay=delay)

    def cleaner_within(self, thresholds: Thresholds, *, kept: tuple[str, ...] = (), delay: float = 0) -> Cleaner:
        """With these."""
        budget = Budget(thresholds, kept, delay)
        return Cleaner(self.storage, budget, self.uses, self.metrics, clock=self.clock, pause=self.clock.pause)

    def look(self, cleaner: Cleaner, *, seconds: float = 0) -> None:
        """Look, after so many seconds."""
        self.clock.now += seconds
        self.uses.changed.set()
        assert cleaner.look()


@contextmanager
def served(folder: Path, root: Path) -> Iterator[tuple[str, Storage, Uses]]:
    """A registry's host, its storage (at `root`) and what it tells, until the end; its own files in `folder`."""
    storage = Storage(root)
    storage.root.mkdir()
    uses = Uses(storage)
    server = listen(uses, 0)
    port = free_port()
    settings = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage.root)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "notifications": {"endpoints": [notified(f"http://127.0.0.1:{server.server_address[1]}/")]},
    }
    (folder / "config.yml").write_text(yaml.safe_dump(settings))
    command = [program("docker-registry"), "serve", str(folder / "config.yml")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for_port(port, process, folder / "log")
        yield f"127.0.0.1:{port}", storage, uses
    finally:
        process.terminate()
        process.wait(timeout=10)
        server.shutdown()
        server.server_close()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    with served(tmp_path, tmp_path / "storage") as (host, storage, uses):
        async with Registry(host, insecure=True) as client:
            yield Scene(storage, uses, client, Clock(time.time()))


def notified(url: str) -> dict[str, Any]:
    """The registry's entry for who is told, as the chart's ConfigMap has it."""
    return {
        "name": "cleaner",
        "url": url,
        "timeout": "2s",
        "threshold": 3,
        "backoff": "1s",
        "ignoredmediatypes": ["application/octet-stream"],
    }
