"""Folders that the operator uploaded (`binderops launch PATH`): `NAME/HEAD`, or `NAME/` and 12 letters of a digest.

Each lies in the registry as an artifact of one layer, so that it works wherever build pods reach the registry.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import ClassVar

import httpx

from binderops.binder.builds.trees import LARGEST_CONTENT, ArchiveTree, FetchTree, Tree
from binderops.binder.providers.base import Display, Provider, Repository, Resolved
from binderops.binder.traits import LocalRepoProvider
from binderops.errors import BuildError, SpecError
from binderops.oci.registry import Registry

_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_REF = re.compile(r"HEAD|[0-9a-f]{12}")
_LONGEST_NAME = 63
REF_LENGTH = 12


def repository_of(name: str) -> str:
    """The registry's repository of an uploaded folder; raises SpecError for what cannot be one."""
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise SpecError(
            f'"{name[:80]}" is no name for an uploaded folder: lower-case letters, digits, and . _ - between.'
        )
    return f"local/{name}"


def ref_of(digest: str) -> str:
    """The short form of a content digest, which is a tag, and the reference in specs."""
    return digest.removeprefix("sha256:")[:REF_LENGTH]


class Local(Provider[LocalRepoProvider]):
    """Visitors may launch what was uploaded only where `repo_providers` lists this provider."""

    metric_name: ClassVar[str] = "Local"
    display: ClassVar[Display] = Display(
        name="Uploaded folder",
        id="local",
        validate_regex=r"[^/]+/(HEAD|[0-9a-f]{12})",
        label="Name of an uploaded folder (binderops launch PATH)",
        placeholder="example: hello",
    )

    def __init__(self, traits: LocalRepoProvider, client: httpx.AsyncClient, registry: Registry) -> None:
        super().__init__(traits, client)
        self._registry = registry

    def parse(self, spec: str) -> Repository:
        """Split `NAME/REF`."""
        name, _, ref = spec.partition("/")
        repository_of(name)
        if not _REF.fullmatch(ref):
            raise SpecError(f'Spec is not of the form "name/ref", provided: "{spec}". Did you mean "{name}/HEAD"?')
        # No other provider's slug has this form: a GitHub user named `local` must not build into an upload's image.
        return Repository(spec, f"local:{name}", ref, f"local/{name}")

    async def resolve(self, repository: Repository) -> Resolved | None:
        """HEAD is the folder as it was uploaded last."""
        name = repository.url.partition(":")[2]
        manifest = await self._registry.get_manifest(repository_of(name), repository.ref)
        if manifest is None or len(manifest.layers) != 1:
            return None
        ref = ref_of(manifest.layers[0].digest)
        artifact = f"{self._registry.host}/{repository_of(name)}:{ref}"
        return Resolved(ref, f"{name}/{ref}", f"local:{name}@{ref}", artifact=artifact)

    def tree_source(self, repository: Repository, resolved: Resolved) -> FetchTree | None:
        """What was uploaded, as the registry keeps it."""
        uploads = repository_of(repository.url.partition(":")[2])

        async def fetch_tree(folder: Path) -> Tree:
            manifest = await self._registry.get_manifest(uploads, resolved.ref)
            if manifest is None or len(manifest.layers) != 1 or manifest.layers[0].size > LARGEST_CONTENT:
                raise BuildError("the upload is gone, or large", where=f"{uploads}:{resolved.ref}")
            content = await self._registry.get_blob(uploads, manifest.layers[0].digest, limit=LARGEST_CONTENT)
            await asyncio.to_thread(folder.write_bytes, content)
            return await asyncio.to_thread(ArchiveTree, folder)

        return fetch_tree
