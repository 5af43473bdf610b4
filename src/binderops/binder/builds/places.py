"""Where a build pushes to, a repository of its own, and how its image gets its name: by the binder, and only once.

A build runs a stranger's code beside a credential for the registry. What it can write with that is its own place alone;
the binder looks at what lies there, makes it readable under the image's name, and empties the place. An image that is
there already is never replaced: the first one stays.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from binderops.binder.builds.manifest import PLACE_TAG
from binderops.errors import BuildError, RegistryError
from binderops.oci.copying import Copier
from binderops.oci.manifests import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
)
from binderops.oci.references import Reference
from binderops.oci.registry import Registry

log = structlog.get_logger(__name__)

_MOST_LAYERS = 500
_MOST_TAGS = 100
_AT_ONCE = 8
_IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
# Without the foreign ones, which say from which addresses of anybody a machine shall fetch them.
_LAYERS = frozenset({OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, DOCKER_LAYER_GZIP})


@dataclass(frozen=True)
class Stored:
    """What the image's name means now; `is_other`: not what this build made, but what was there before it."""

    digest: str
    is_other: bool = False


Tell = Callable[[str], None]


class Places:
    """The places of all builds in the release's registry.

    Where images are kept in another one (`images`), this copies them there: whoever builds never knows its password.
    """

    def __init__(self, registry: Registry, images: Registry | None = None, *, base: str = "") -> None:
        """`base` is the repository of `images` that holds the notebook base's layers."""
        self._registry = registry
        self._images = images or registry
        self._copier = Copier(registry, images, base=base) if images else None

    def new(self, build: str) -> str:
        """A repository that no other build was given, nor an earlier one of the same image."""
        return f"builds/{build}-{secrets.token_hex(8)}"

    async def store(self, place: str, image: str, *, tag: str = PLACE_TAG, tell: Tell = lambda text: None) -> Stored:
        """Give what a build made its name, unless the name is taken; `tell` is told how far it has come.

        Raises BuildError where the build left no image, or what is not one; RegistryError.
        """
        target = Reference.parse(image)
        made = await self._registry.get_manifest(place, tag)
        present = await self._images.head_manifest(target.repository, target.tag)
        if present is not None:
            is_other = made is not None and made.digest != present.digest
            if is_other:
                log.warning("an image is there already: what was built is left", image=image, present=present.digest)
            return Stored(present.digest, is_other)
        if made is None:
            raise BuildError("The build ended without leaving an image.")
        blobs = _blobs_of(made)
        if self._copier is None:
            await self._mount(target.repository, place, blobs)
        else:
            progress = partial(_tell_progress, tell, self._images.host)
            await self._copier.copy(blobs, source=place, target=target.repository, progress=progress)
        return Stored(await self._images.put_manifest(target.repository, target.tag, made))

    async def clean(self, place: str) -> None:
        """Remove what lies there; what cannot be removed is logged, since nobody waits for it."""
        if not place:
            return
        try:
            for tag in (await self._registry.tags(place))[:_MOST_TAGS]:
                await self._remove(place, tag)
        except RegistryError as error:
            log.warning("the place of a build cannot be emptied", place=place, error=str(error))

    async def _remove(self, place: str, tag: str) -> None:
        manifest = await self._registry.get_manifest(place, tag)
        if manifest is None:
            return
        await self._registry.delete_manifest(place, manifest.digest)
        if manifest.media_type in _IMAGES:
            blobs = {blob.digest for blob in (manifest.config, *manifest.layers[:_MOST_LAYERS])}
            await asyncio.gather(*(self._registry.delete_blob(place, digest) for digest in blobs))

    async def _mount(self, repository: str, place: str, blobs: list[Descriptor]) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def mount(digest: str) -> None:
            async with slots:
                if not await self._registry.mount_blob(repository, digest, source=place):
                    raise RegistryError("the registry does not mount what a build pushed", where=f"{place}@{digest}")

        await asyncio.gather(*(mount(digest) for digest in {blob.digest for blob in blobs}))


def _tell_progress(tell: Tell, host: str, sent: int, of: int) -> None:
    tell(f"Stored {sent / 1e6:.1f} of {of / 1e6:.1f} MB in {host}")


def _blobs_of(manifest: Manifest) -> list[Descriptor]:
    """Configuration and layers of an image; raises BuildError for what is none, or names what lies elsewhere."""
    if manifest.media_type not in _IMAGES:
        raise _refused(f"its manifest is {manifest.media_type[:100]}")
    layers = manifest.layers
    if manifest.config.media_type not in _CONFIGS or len(layers) > _MOST_LAYERS:
        raise _refused(f"it has {len(layers)} layers and a {manifest.config.media_type[:100]}")
    for layer in layers:
        if layer.media_type not in _LAYERS:
            raise _refused(f"it has a layer that is {layer.media_type[:100]}")
    if any("urls" in item for item in manifest.document["layers"]):
        raise _refused("it has a layer that lies elsewhere")
    return [manifest.config, *layers]


def _refused(why: str) -> BuildError:
    return BuildError("The build left what is not an image.", why=why)
