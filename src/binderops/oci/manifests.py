"""Descriptors, manifests and their media types, of OCI's image specification and of Docker's schema 2."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from binderops.errors import RegistryError
from binderops.oci.references import is_digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ACCEPTED = ", ".join((OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST))
EMPTY_JSON = b"{}"


@dataclass(frozen=True)
class Descriptor:
    """What is stored under a digest: its media type and its size in bytes."""

    media_type: str
    digest: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}

    @classmethod
    def of(cls, content: bytes, media_type: str) -> Descriptor:
        """The descriptor of some bytes."""
        return cls(media_type, digest_of(content), len(content))


@dataclass(frozen=True)
class Manifest:
    """A manifest as the registry holds it: `body` is its exact bytes, which the digest is made of."""

    media_type: str
    body: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """The manifest's own digest."""
        return digest_of(self.body)

    @property
    def document(self) -> dict[str, Any]:
        """The parsed body; raises RegistryError if it is not a JSON object."""
        try:
            document = json.loads(self.body)
        except ValueError as error:
            raise RegistryError("the registry sent what is not a manifest", why=str(error)) from error
        if not isinstance(document, dict):
            raise RegistryError("the registry sent what is not a manifest", why="not a JSON object")
        return document

    @property
    def config(self) -> Descriptor:
        """The image's configuration blob; raises RegistryError for an index."""
        return descriptor_from(self.document.get("config"))

    @property
    def layers(self) -> list[Descriptor]:
        """The image's layers, lowest first."""
        layers = self.document.get("layers")
        if not isinstance(layers, list):
            raise RegistryError("the manifest has no layers", why=f"its media type is {self.media_type}")
        return [descriptor_from(layer) for layer in layers]


def descriptor_from(value: object) -> Descriptor:
    """Read a descriptor that a registry sent; raises RegistryError."""
    if isinstance(value, Mapping):
        media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
        if isinstance(media_type, str) and isinstance(digest, str) and isinstance(size, int) and is_digest(digest):
            return Descriptor(media_type, digest, size)
    raise RegistryError("the manifest holds what is not a descriptor", why=repr(value)[:200])


def digest_of(content: bytes) -> str:
    """The sha256 digest of some bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def encode(document: Mapping[str, Any]) -> bytes:
    """The JSON bytes of a manifest or configuration: always the same ones for the same document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
