"""Copying blobs from one registry to another: streamed, and only those that the other one lacks.

A copy that broke off is taken up by asking for it again: blobs that arrived are found there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

from binderops.errors import RegistryError
from binderops.oci.manifests import Descriptor
from binderops.oci.registry import Registry

_QUESTIONS_AT_ONCE = 8
_UPLOADS_AT_ONCE = 3
_TELL_SECONDS = 2.0
_MOST_HOMES = 10_000

Progress = Callable[[int, int], None]
"""Told now and then how many bytes were sent, and how many there are to send."""


class Copier:
    """From `source` to `target`. It remembers where in `target` blobs lie, and has them mounted from there.

    Of blobs that it does not know it asks for those of `base`, a repository of `target`.
    """

    def __init__(self, source: Registry, target: Registry, *, base: str = "") -> None:
        self._source = source
        self._target = target
        self._base = base
        self._homes: dict[str, str] = {}

    async def copy(
        self, blobs: Iterable[Descriptor], *, source: str, target: str, progress: Progress = lambda sent, of: None
    ) -> None:
        """Make blobs of the repository `source` readable in the repository `target`; raises RegistryError."""
        wanted = {blob.digest: blob for blob in blobs}
        questions, uploads = asyncio.Semaphore(_QUESTIONS_AT_ONCE), asyncio.Semaphore(_UPLOADS_AT_ONCE)
        missing: list[Descriptor] = []

        async def look(blob: Descriptor) -> None:
            async with questions:
                if not await self._is_there_or_mounted(target, blob.digest):
                    missing.append(blob)

        async def send(blob: Descriptor, told: _Told) -> None:
            async with uploads:
                await self._send(blob, source, target, told)

        await _all(look(blob) for blob in wanted.values())
        told = _Told(progress, sum(blob.size for blob in missing))
        await _all(send(blob, told) for blob in missing)
        self._remember(wanted, target)

    async def _is_there_or_mounted(self, repository: str, digest: str) -> bool:
        if await self._target.has_blob(repository, digest):
            return True
        home = self._homes.get(digest, self._base)
        if home in ("", repository):
            return False
        try:
            return await self._target.mount_blob(repository, digest, source=home)
        except RegistryError:
            # Registries have many ways to say that they will not; sending the bytes works with all of them.
            return False

    async def _send(self, blob: Descriptor, source: str, target: str, told: _Told) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            sent = 0
            async for piece in self._source.stream_blob(source, blob.digest):
                yield piece
                sent += len(piece)
                told.sent(blob.digest, sent)

        await self._target.send_blob(target, blob, pieces)

    def _remember(self, digests: Iterable[str], repository: str) -> None:
        for digest in digests:
            self._homes.pop(digest, None)
            self._homes[digest] = repository
        for digest in list(self._homes)[:-_MOST_HOMES]:
            del self._homes[digest]


class _Told:
    """How far a copy has come: by blobs, since one that breaks off begins anew."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._sent: dict[str, int] = {}
        self._when = time.monotonic()

    def sent(self, digest: str, size: int) -> None:
        self._sent[digest] = size
        now, sent = time.monotonic(), sum(self._sent.values())
        if now - self._when >= _TELL_SECONDS or sent == self._total:
            self._when = now
            self._progress(sent, self._total)


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of them at once; the first that fails ends the others, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(work)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
