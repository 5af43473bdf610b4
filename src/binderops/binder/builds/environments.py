"""Which image has which environment: kept in the registry beside a repository's images, written by the binder alone.

A record is a manifest under the tag `env-DIGEST`: it names an image of this repository by its digest, and holds the
list of the files that image was built with.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass

from binderops.binder.builds.trees import Listing
from binderops.errors import RegistryError
from binderops.oci.manifests import EMPTY_JSON, OCI_EMPTY, OCI_MANIFEST, Manifest, encode
from binderops.oci.registry import Registry

TAG_PREFIX = "env-"
ARTIFACT_TYPE = "application/vnd.binderops.environment.v1"
LISTING_TYPE = "application/vnd.binderops.listing.v1+gzip"
_IMAGE = "dev.binderops.image"
_LARGEST_LISTING = 16 << 20


@dataclass(frozen=True)
class Environment:
    """An image to extend, by its digest, and the files that it holds."""

    image: str
    files: Listing


class Environments:
    """The records of all repositories in one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def has_any(self, repository: str) -> bool:
        """Whether anything is recorded of a repository."""
        return any(tag.startswith(TAG_PREFIX) for tag in await self._registry.tags(repository))

    async def find(self, repository: str, digest: str) -> Environment | None:
        """The image that has this environment, if it is still there; raises RegistryError."""
        manifest = await self._registry.get_manifest(repository, f"{TAG_PREFIX}{digest}")
        if manifest is None or manifest.document.get("artifactType") != ARTIFACT_TYPE:
            return None
        image = str((manifest.document.get("annotations") or {}).get(_IMAGE, ""))
        if await self._registry.head_manifest(repository, image) is None:
            return None
        packed = await self._registry.get_blob(repository, manifest.layers[0].digest, limit=_LARGEST_LISTING)
        return Environment(image, _read(packed))

    async def record(self, repository: str, digest: str, environment: Environment) -> None:
        """Record an image, unless one that is still there is recorded; raises RegistryError."""
        if await self.find(repository, digest) is not None:
            return
        packed = gzip.compress(json.dumps(dict(environment.files), separators=(",", ":")).encode(), mtime=0)
        config = await self._registry.push_blob(repository, EMPTY_JSON, OCI_EMPTY)
        listing = await self._registry.push_blob(repository, packed, LISTING_TYPE)
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": config.to_json(),
            "layers": [listing.to_json()],
            "annotations": {_IMAGE: environment.image},
        }
        await self._registry.put_manifest(repository, f"{TAG_PREFIX}{digest}", Manifest(OCI_MANIFEST, encode(document)))


def _read(packed: bytes) -> Listing:
    try:
        files: Mapping[str, list[object]] = json.loads(gzip.decompress(packed))
        return {path: (int(str(mode)), str(name)) for path, (mode, name) in files.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RegistryError("the record of an environment cannot be read", why=str(error)) from error
