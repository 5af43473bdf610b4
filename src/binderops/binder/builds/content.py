"""A commit that changes no environment file: its image is one more layer over an image that is there. No pod runs.

Whatever stands in the way (a server that gives no single commit, an environment that reads more than its files, content
that is large) is no failure: the commit is then built like every other.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from binderops.binder.builds.environments import Environment, Environments
from binderops.binder.builds.manifest import BuildRequest
from binderops.binder.builds.trees import Tree, changes, entries_of, environment_of, listing_of
from binderops.binder.events import Event, event
from binderops.binder.settings import Settings
from binderops.errors import BinderOpsError, BuildError
from binderops.oci.layers import ConfigChange, append_layer, files_layer
from binderops.oci.references import Reference
from binderops.oci.registry import Registry

log = structlog.get_logger(__name__)

_AT_ONCE = 4
_PATIENCE_SECONDS = 3.0
"""How long a commit waits for a look at its files: where hosts answer slowly, it is built like every other."""
_FASTEST = 1  # of gzip's levels: content is small, or packed already


class Content:
    """What is done about commits without a build, for all repositories of one registry."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._registry = registry
        self.environments = Environments(registry)
        parts = (settings.build_image, settings.common.images.notebook.reference, settings.build.appendix)
        self.builder = "\n".join(parts)
        # An option of repo2docker may change what an image holds in ways that only it knows.
        self._is_on = not settings.build.repo2docker_extra_args
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def look(self, request: BuildRequest) -> Look:
        """At one commit."""
        return Look(self, self._registry, request, self._slots if self._is_on else None)


@dataclass
class _Looked:
    tree: Tree
    environment: str
    seconds: float


class Look:
    """At one commit: its files are fetched once, and only when they are needed. Closed at its end."""

    def __init__(
        self, content: Content, registry: Registry, request: BuildRequest, slots: asyncio.Semaphore | None
    ) -> None:
        self._content = content
        self._registry = registry
        self._request = request
        self._slots = slots if request.fetch_tree else None
        self._target = Reference.parse(request.image)
        self._looked: _Looked | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    async def append(self, tell: Callable[[Event], None]) -> bool:
        """Store the commit's image without building, if that can be; True if it is stored."""
        if self._slots is None:
            return False
        try:
            # A repository's first build is not kept waiting: its files are looked at when it is done.
            if not await self._content.environments.has_any(self._target.repository):
                return False
            async with self._turn(seconds=_PATIENCE_SECONDS):
                if await self._append(tell):
                    return True
        except BinderOpsError as error:
            log.info("a commit is built whole", image=self._request.image, why=str(error))
        # What was fetched is not kept through the queue and the build.
        self.close()
        return False

    async def remember(self, image: str) -> None:
        """Record the environment of what was built, by its digest, for commits that come."""
        if self._slots is None:
            return
        try:
            async with self._turn():
                looked = await self._look()
            if looked.environment:
                await self._content.environments.record(
                    self._target.repository, looked.environment, Environment(image, listing_of(looked.tree))
                )
                log.info("an environment is recorded", image=self._request.image, environment=looked.environment)
        except BinderOpsError as error:
            log.info("an environment is not recorded", image=self._request.image, why=str(error))

    def close(self) -> None:
        """Remove what was fetched."""
        self._looked = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    @asynccontextmanager
    async def _turn(self, *, seconds: float | None = None) -> AsyncIterator[None]:
        """One of few at once; BuildError where none is free within `seconds`."""
        assert self._slots is not None
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise BuildError("the files of other commits are being looked at") from None
        try:
            yield
        finally:
            self._slots.release()

    async def _append(self, tell: Callable[[Event], None]) -> bool:
        looked = await self._look()
        if not looked.environment:
            return False
        found = await self._content.environments.find(self._target.repository, looked.environment)
        if found is None:
            return False
        started, changed = time.monotonic(), changes(found.files, looked.tree)
        tell(event("fetching", f"Fetched the files of {self._request.ref[:12]} in {looked.seconds:.2f} s"))
        tell(
            event(
                "building",
                "Only content differs from an image that is there: its environment is used again, nothing is built. "
                f"{len(changed.written)} files are written, {len(changed.removed)} removed.",
            )
        )
        assert self._folder is not None
        file = Path(self._folder.name) / "layer.tar.gz"
        layer = await asyncio.to_thread(
            files_layer, entries_of(looked.tree, changed.written), file, removed=changed.removed, level=_FASTEST
        )
        source, tag = (self._target.repository, found.image), (self._target.repository, self._target.tag)
        if await self._registry.head_manifest(*tag) is None:
            labels = {"repo2docker.ref": self._request.ref}
            await append_layer(self._registry, base=source, target=tag, layer=layer, change=ConfigChange(labels=labels))
        seconds = time.monotonic() - started
        tell(event("pushing", f"Stored one layer of {file.stat().st_size / 1e6:.1f} MB in {seconds:.2f} s"))
        log.info("content appended", image=self._request.image, seconds=round(seconds, 3), base=found.image)
        return True

    async def _look(self) -> _Looked:
        if self._looked is None:
            assert self._request.fetch_tree
            started = time.monotonic()
            self._folder = tempfile.TemporaryDirectory(prefix="content-")
            tree = await self._request.fetch_tree(Path(self._folder.name) / "fetched")
            environment = await asyncio.to_thread(environment_of, tree, builder=self._content.builder)
            self._looked = _Looked(tree, environment, time.monotonic() - started)
        return self._looked
