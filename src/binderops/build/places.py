"""Where things are in a build pod (architecture.md, Registry and builds)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PodPlaces:
    """The pod's folders; tests give others."""

    containers: Path = Path("/var/lib/containers")
    base: Path = Path("/base/storage")
    run: Path = Path("/run/binderops-build")

    @property
    def storage(self) -> Path:
        """The store that buildah works in."""
        return self.containers / "storage"

    @property
    def runtime_settings(self) -> Path:
        """What the runtime of RUN steps reads."""
        return self.run / "runtime.json"

    @property
    def layout(self) -> Path:
        """The base's layers as the registry gets them, compressed once (binderops.images.buildbase)."""
        return self.base / "oci-layout"

    @property
    def seccomp(self) -> Path:
        """The system calls of RUN steps: those of users' servers."""
        return self.run / "seccomp.json"

    @property
    def temporary(self) -> Path:
        """TMPDIR: build caches lie below it, so it belongs to the repository's own folder."""
        return self.containers / "tmp"

    @property
    def authorities(self) -> Path:
        """The image's certificate authorities and the machine's, in one file."""
        return self.run / "authorities.crt"

    @property
    def machine(self) -> Path:
        """What RUN steps see at /run/machine."""
        return self.run / "machine"
