"""Reading an OCI image layout: a folder with an index, manifests and blobs.

Source: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binderops.oci.manifests import Descriptor, Manifest, descriptor_from


@dataclass(frozen=True)
class Layout:
    """One layout that holds one image."""

    root: Path

    def blob(self, digest: str) -> Path:
        """The file of a blob."""
        algorithm, _, encoded = digest.partition(":")
        return self.root / "blobs" / algorithm / encoded

    def manifest(self) -> Manifest:
        """The image's manifest."""
        index = json.loads((self.root / "index.json").read_bytes())
        descriptor = descriptor_from(index["manifests"][0])
        return Manifest(descriptor.media_type, self.blob(descriptor.digest).read_bytes())

    def layers_by_content(self) -> dict[str, Descriptor]:
        """The compressed layers by the digests of their uncompressed content (`diff_ids`)."""
        manifest = self.manifest()
        config: dict[str, Any] = json.loads(self.blob(manifest.config.digest).read_bytes())
        return dict(zip(config["rootfs"]["diff_ids"], manifest.layers, strict=True))
