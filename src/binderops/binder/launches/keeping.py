"""Images of servers that run are in use: asking the registry for them says so to what keeps it small."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from binderops.errors import RegistryError
from binderops.kube.kinds import Object
from binderops.kube.objects import spec_of
from binderops.oci.references import Reference
from binderops.oci.registry import Registry

log = structlog.get_logger(__name__)

ASK_SECONDS = 900.0
"""Often enough: the registry's cleaner leaves alone what was used within an hour."""


class Keeping:
    """Asks for the image of each running server now and then; `users` are their pods."""

    def __init__(self, registry: Registry, users: Callable[[], Iterable[Object]]) -> None:
        self._registry = registry
        self._users = users

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(ASK_SECONDS)
            try:
                await self.ask()
            except RegistryError as error:
                log.warning("the registry cannot be told which images run", error=str(error))

    async def ask(self) -> None:
        """Ask for each image once, one after the other: nobody waits for this. Raises RegistryError."""
        for image in sorted(self._images(), key=lambda image: (image.repository, image.selector)):
            await self._registry.head_manifest(image.repository, image.selector)

    def _images(self) -> set[Reference]:
        names = {str(c.get("image", "")) for pod in self._users() for c in spec_of(pod).get("containers") or []}
        return {image for name in names if (image := _read(name)) and image.registry == self._registry.host}


def _read(name: str) -> Reference | None:
    try:
        return Reference.parse(name)
    except RegistryError:
        return None
