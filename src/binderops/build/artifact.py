"""The content provider of `local:NAME`: what somebody uploaded to the binder, fetched from the registry.

An artifact is a manifest with one layer, a tar.gz (architecture.md, Registry and builds); REPO_ARTIFACT names it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from repo2docker.contentproviders.base import ContentProvider

from binderops.build.pushing import Login, registry_of
from binderops.build.unpack import unpack
from binderops.errors import BuildError
from binderops.oci.references import Reference

_LARGEST_ARCHIVE = 1 << 30
_SCHEME = "local:"


class LocalArtifact(ContentProvider):  # type: ignore[misc]
    """Uploaded content; `login` is whom the registry knows this build as."""

    login = Login()

    @classmethod
    def known_as(cls, login: Login) -> type[LocalArtifact]:
        """Return this provider with a login: repo2docker makes its providers itself, from their classes."""
        return type(cls.__name__, (cls,), {"login": login})

    def __init__(self) -> None:
        super().__init__()
        self._digest = ""

    def detect(self, repo: str, ref: str | None = None, extra_args: object = None) -> dict[str, str] | None:
        """Whether this is uploaded content; its spec then."""
        if not repo.startswith(_SCHEME):
            return None
        artifact = os.environ.get("REPO_ARTIFACT", "")
        if not artifact:
            raise BuildError(f"{repo} cannot be fetched", why="REPO_ARTIFACT does not say where it lies")
        return {"name": repo.removeprefix(_SCHEME), "artifact": artifact}

    def fetch(self, spec: dict[str, str], output_dir: str, yield_output: bool = False) -> Iterator[str]:
        """Fetch and unpack; raises RegistryError or BuildError."""
        yield f"Fetching {spec['artifact']}.\n"
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "content.tar.gz"
            archive.write_bytes(asyncio.run(self._download(Reference.parse(spec["artifact"]))))
            unpack(archive, Path(output_dir))
        yield f"Unpacked {spec['name']}.\n"

    async def _download(self, reference: Reference) -> bytes:
        async with registry_of(reference, self.login) as registry:
            manifest = await registry.get_manifest(reference.repository, reference.selector)
            if manifest is None:
                raise BuildError("the uploaded content is gone", where=str(reference), hint="upload it again")
            if len(manifest.layers) != 1:
                raise BuildError("this is not uploaded content", where=str(reference), why="it has several layers")
            layer = manifest.layers[0]
            self._digest = layer.digest
            return await registry.get_blob(reference.repository, layer.digest, limit=_LARGEST_ARCHIVE)

    @property
    def content_id(self) -> str:
        """The content's digest, shortened as repo2docker shortens commits."""
        return self._digest.removeprefix("sha256:")[:12]
