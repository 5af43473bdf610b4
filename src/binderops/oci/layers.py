"""Extending an image by one layer over HTTP: its other layers are mounted, nothing is unpacked, no engine runs.

How content that changes without its environment becomes an image: seconds of a build become a few requests.
Source: https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md (whiteouts, parent directories).
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from binderops.errors import RegistryError
from binderops.oci.manifests import (
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Manifest,
    encode,
)
from binderops.oci.registry import Registry

_LAYER_TYPES = {OCI_MANIFEST: OCI_LAYER_GZIP, DOCKER_MANIFEST: DOCKER_LAYER_GZIP}
_LARGEST_CONFIG = 4 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Owner:
    """Whom the content belongs to."""

    uid: int = 1000
    gid: int = 1000


@dataclass(frozen=True)
class Layer:
    """A compressed layer on disk; `diff_id` is the digest of its uncompressed bytes."""

    path: Path
    diff_id: str


@dataclass(frozen=True)
class ConfigChange:
    """What the new image's configuration says otherwise."""

    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""
    comment: str = "content"


class _Digesting:
    """Passes bytes on, and knows their digest."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return self._target.write(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._digest.hexdigest()}"


Entry = tuple[tarfile.TarInfo, BinaryIO | None]


def content_layer(
    archive: Path, target: Path, *, folder: str = "/home/jovyan", owner: Owner = Owner(), removed: Iterable[str] = ()
) -> Layer:
    """A layer of an archive's files (tar.gz); otherwise as `files_layer`."""
    with tarfile.open(archive, "r:gz") as source:
        return files_layer(entries_of(source), target, folder=folder, owner=owner, removed=removed)


def entries_of(source: tarfile.TarFile) -> Iterator[Entry]:
    """What an archive holds, one after another."""
    for entry in source:
        yield entry, cast(BinaryIO, source.extractfile(entry)) if entry.isreg() else None


def files_layer(
    entries: Iterable[Entry],
    target: Path,
    *,
    folder: str = "/home/jovyan",
    owner: Owner = Owner(),
    removed: Iterable[str] = (),
    level: int = 6,
) -> Layer:
    """A layer that puts files into `folder`, and hides the `removed` files of layers below; `level` is gzip's.

    Parent directories have entries of their own: without them the topmost layer would make them root's. Raises
    RegistryError for what reaches outside the folder.
    """
    with target.open("wb") as raw:
        compressed = cast(BinaryIO, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=level, mtime=0))
        with compressed:
            digesting = _Digesting(compressed)
            with tarfile.open(fileobj=cast(BinaryIO, digesting), mode="w|", format=tarfile.PAX_FORMAT) as layer:
                known: set[str] = set()
                _add_parents(layer, PurePosixPath(folder.lstrip("/")) / "_", known, owner, top=folder.lstrip("/"))
                for name in removed:
                    _add_whiteout(layer, _inner(name), folder.lstrip("/"), known, owner)
                for entry, content in entries:
                    _add(layer, entry, content, folder.lstrip("/"), known, owner)
    return Layer(target, digesting.digest)


async def append_layer(
    registry: Registry,
    *,
    base: tuple[str, str],
    target: tuple[str, str],
    layer: Layer,
    change: ConfigChange = ConfigChange(),
) -> str:
    """Store `base` (repository, tag or digest) with one more layer as `target` (repository, tag); returns its digest.

    The media types stay those of the manifest that is extended. Raises RegistryError, also for an index.
    """
    source, selector = base
    repository, tag = target
    manifest = await registry.get_manifest(source, selector)
    if manifest is None:
        raise RegistryError("the image to extend is not there", where=f"{source}:{selector}")
    layer_type = _LAYER_TYPES.get(manifest.media_type)
    if layer_type is None:
        raise RegistryError("this kind of image cannot be extended", where=source, why=manifest.media_type)
    config = json.loads(await registry.get_blob(source, manifest.config.digest, limit=_LARGEST_CONFIG))
    if source != repository:
        await asyncio.gather(*(_bring(registry, repository, below.digest, source) for below in manifest.layers))
    pushed = await registry.push_blob(repository, layer.path, layer_type)
    changed = encode(_changed(config, layer.diff_id, change))
    pushed_config = await registry.push_blob(repository, changed, manifest.config.media_type)
    document = {
        **manifest.document,
        "config": pushed_config.to_json(),
        "layers": [*manifest.document["layers"], pushed.to_json()],
    }
    return await registry.put_manifest(repository, tag, Manifest(manifest.media_type, encode(document)))


async def _bring(registry: Registry, repository: str, digest: str, source: str) -> None:
    if not await registry.has_blob(repository, digest) and not await registry.mount_blob(
        repository, digest, source=source
    ):
        raise RegistryError("the registry does not mount a layer of the image", where=f"{source}@{digest}")


def _changed(config: Mapping[str, Any], diff_id: str, change: ConfigChange) -> dict[str, Any]:
    run: dict[str, Any] = dict(config.get("config") or {})
    env = dict(item.partition("=")[::2] for item in run.get("Env") or [])
    run["Env"] = [f"{name}={value}" for name, value in {**env, **change.env}.items()]
    run["Labels"] = {**(run.get("Labels") or {}), **change.labels}
    if change.working_dir:
        run["WorkingDir"] = change.working_dir
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    rootfs: dict[str, Any] = dict(config.get("rootfs") or {"type": "layers"})
    rootfs["diff_ids"] = [*(rootfs.get("diff_ids") or []), diff_id]
    history = [*(config.get("history") or []), {"created": now, "created_by": "binderops", "comment": change.comment}]
    return {**config, "config": run, "rootfs": rootfs, "history": history, "created": now}


def _add(
    layer: tarfile.TarFile, entry: tarfile.TarInfo, content: BinaryIO | None, folder: str, known: set[str], owner: Owner
) -> None:
    path = PurePosixPath(folder) / _inner(entry.name)
    if not (entry.isreg() or entry.issym() or entry.isdir()):
        raise RegistryError("the content holds what is neither file, folder nor link", where=entry.name)
    _add_parents(layer, path, known, owner, top=folder)
    if entry.isdir():
        _add_parents(layer, path / "_", known, owner, top=folder)
        return
    copied = tarfile.TarInfo(str(path))
    copied.type, copied.linkname, copied.mode, copied.mtime = (
        entry.type,
        entry.linkname,
        entry.mode & 0o777,
        entry.mtime,
    )
    copied.size = entry.size if entry.isreg() else 0
    copied.uid, copied.gid = owner.uid, owner.gid
    layer.addfile(copied, content)


def _add_parents(layer: tarfile.TarFile, path: PurePosixPath, known: set[str], owner: Owner, *, top: str) -> None:
    for parent in reversed(path.parents[:-1]):
        if str(parent) in known:
            continue
        known.add(str(parent))
        entry = tarfile.TarInfo(str(parent))
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        if str(parent) == top or str(parent).startswith(f"{top}/"):
            entry.uid, entry.gid = owner.uid, owner.gid
        layer.addfile(entry)


def _add_whiteout(layer: tarfile.TarFile, name: PurePosixPath, folder: str, known: set[str], owner: Owner) -> None:
    path = PurePosixPath(folder) / name
    _add_parents(layer, path, known, owner, top=folder)
    layer.addfile(tarfile.TarInfo(str(path.with_name(f".wh.{path.name}"))))


def _inner(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or ".." in path.parts
        or not path.parts
        or any(part.startswith(".wh.") for part in path.parts)
    ):
        raise RegistryError("the content reaches outside its folder", where=name[:200])
    return path
