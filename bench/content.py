"""A commit that changes a notebook alone: from the open stream (its digest is known then) to an image in the registry.

Twice: over the image that the first build made, and over the same image with gigabytes more in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tarfile
import tempfile
import time
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO, cast

from bench.baseline import SOCKET
from bench.launch import REQUIREMENTS, launch_example, open_folder
from bench.place import DIRECTORY, ENVIRONMENT
from bench.registry import own_registry
from bench.report import Report, Series
from binderops.binder.builds.environments import TAG_PREFIX
from binderops.cli.wiring import open_workspace
from binderops.delivery.launching import Launched
from binderops.delivery.proving import end_server, launch_folder
from binderops.delivery.workspace import Workspace
from binderops.errors import EngineError
from binderops.oci.layers import append_layer, files_layer
from binderops.oci.manifests import Manifest, encode
from binderops.oci.references import Reference
from binderops.oci.registry import Registry
from binderops.podman import Podman

GIGABYTES = 3
_RECORDED = 30.0  # seconds: a first build's environment is put on record after its launch
_RECIPE = (
    "one notebook changed, one file removed; from opening the event stream (the upload has answered its "
    "digest) to the event that the image is there; "
)


async def content_only(n: int) -> Report:
    """In turn, n times: a change over the built image, and one over it with GIGABYTES more."""
    workspace = open_workspace(DIRECTORY, ENVIRONMENT)
    report = Report("content", "small and large image in turn")
    with (
        open_folder({"requirements.txt": REQUIREMENTS, "old.txt": "1\n"}) as small,
        open_folder({"requirements.txt": REQUIREMENTS, "old.txt": "1\n"}) as large,
    ):
        built = [await _first(workspace, folder) for folder in (small, large)]
        async with own_registry(workspace) as registry:
            digest = await _grow(registry, Reference.parse(built[1].result.image).repository)
            found: tuple[list[float], list[float]] = ([], [])
            images = []
            for number in range(n):
                for folder, samples in zip((small, large), found, strict=True):
                    launched = await _changed(workspace, folder, number)
                    samples.append(launched.result.phases["built"])
                    images.append(launched.result.image)
            await _forget(registry, images, digest)
    report.series = [
        Series("image ready, small image", f"{_RECIPE}the notebook base and three packages", "s", found[0], bar=1),
        Series(
            f"image ready, {GIGABYTES} GB more",
            f"{_RECIPE}the same image with a layer of {GIGABYTES} GB of random bytes, on record as this environment's",
            "s",
            found[1],
            bar=1,
        ),
        Series(
            "  first build, for comparison",
            "from opening the event stream to the same event, of the repository that nobody built before",
            "s",
            [launched.result.phases["built"] for launched in built],
        ),
    ]
    return report


async def _first(workspace: Workspace, folder: Path) -> Launched:
    """Builds and launches it, and waits until its environment is on record."""
    launched = await launch_example(workspace, folder)
    await end_server(launched)
    repository = Reference.parse(launched.result.image).repository
    deadline = time.monotonic() + _RECORDED
    async with own_registry(workspace) as registry:
        while not await _records(registry, repository):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the environment of {repository} was not recorded within {_RECORDED:.0f} s")
            await asyncio.sleep(0.1)
    return launched


async def _changed(workspace: Workspace, folder: Path, number: int) -> Launched:
    (folder / "old.txt").unlink(missing_ok=True)
    (folder / "index.ipynb").write_text(
        f'{{"cells": [], "metadata": {{"number": {number}}}, "nbformat": 4, "nbformat_minor": 5}}', encoding="utf-8"
    )
    said: list[str] = []
    launched = await launch_folder(
        workspace.deployment(),
        workspace.target.access(),
        folder=folder,
        on_event=lambda phase, text: said.append(text),
    )
    await end_server(launched)
    if not any("nothing is built" in text for text in said):
        raise RuntimeError(f"{folder.name} was built: the figure would be a lie")
    return launched


async def _records(registry: Registry, repository: str) -> list[str]:
    return [tag for tag in await registry.tags(repository) if tag.startswith(TAG_PREFIX)]


async def _grow(registry: Registry, repository: str) -> str:
    """Makes the image on record gigabytes larger; the digest of what is on record then."""
    tag = (await _records(registry, repository))[0]
    record = await registry.get_manifest(repository, tag)
    assert record is not None
    (name, image), *_ = record.document["annotations"].items()
    with tempfile.TemporaryDirectory(prefix="binderops-bench-", dir="/var/tmp") as folder:
        layer = await asyncio.to_thread(
            files_layer, [(_file(), cast(BinaryIO, _Random()))], Path(folder) / "layer", folder="/opt/bench", level=0
        )
        digest = await append_layer(registry, base=(repository, image), target=(repository, "large"), layer=layer)
    document = {**record.document, "annotations": {name: digest}}
    await registry.put_manifest(repository, tag, Manifest(record.media_type, encode(document)))
    return digest


async def _forget(registry: Registry, images: list[str], large: str) -> None:
    """Removes what this bench made, gigabytes first, from registry and node."""
    for image in images:
        reference = Reference.parse(image)
        found = await registry.head_manifest(reference.repository, reference.tag)
        if found is not None:
            await registry.delete_manifest(reference.repository, found.digest)
    await registry.delete_manifest(Reference.parse(images[-1]).repository, large)
    async with Podman(SOCKET) as podman:
        for image in images:
            # A server that is ending still has it; the node's own cleaner takes it then.
            with contextlib.suppress(EngineError):
                await podman.images.remove(image, force=True)


def _file() -> tarfile.TarInfo:
    entry = tarfile.TarInfo("random")
    entry.size, entry.mode = GIGABYTES * 1000**3, 0o644
    return entry


class _Random(BufferedIOBase):
    """Bytes without end that gzip makes no smaller: one block again and again, larger than what it looks back at."""

    def __init__(self) -> None:
        self._block = os.urandom(1 << 20)

    def read(self, size: int | None = -1, /) -> bytes:
        """As many bytes as asked for."""
        assert size is not None and 0 <= size <= len(self._block)
        return self._block[:size]

    def write(self, data: Any, /) -> int:
        """It is only read."""
        raise NotImplementedError
