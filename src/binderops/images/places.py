"""Where the images of a machine lie: all below STATE/images (architecture.md, Places)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ImagePlaces:
    """The files and folders below one state folder that this room owns."""

    state: Path

    @property
    def root(self) -> Path:
        """Everything that this room keeps."""
        return self.state / "images"

    @property
    def storage(self) -> Path:
        """The image store; each node reads it as an additional, read-only store."""
        return self.root / "storage"

    @property
    def lock_file(self) -> Path:
        """The values layer that pins what was built."""
        return self.root / "images.lock.yaml"

    @property
    def mutex(self) -> Path:
        """Held while images are built, so that two commands do not build at once."""
        return self.root / "build.mutex"

    @property
    def configuration(self) -> Path:
        """The engine's configuration, and what this machine needs to reach package registries."""
        return self.root / "configuration"

    @property
    def work(self) -> Path:
        """Build contexts and archives; emptied at every start, so nothing half-made outlives its command."""
        return self.root / "work"

    @property
    def run(self) -> Path:
        """The engine's runtime folder."""
        return self.root / "run"

    @property
    def build_base(self) -> Path:
        """What build pods mount read-only: the notebook base, owned by their range of user ids."""
        return self.root / "build-base"

    @property
    def build_base_storage(self) -> Path:
        """The image store in it."""
        return self.build_base / "storage"
