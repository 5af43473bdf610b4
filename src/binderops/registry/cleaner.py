"""The loop: read the storage when something changed, remove images while it holds too much, sweep what is left over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from binderops.registry.budget import Freeing, Image, Thresholds, images_of, removable
from binderops.registry.metrics import Metrics
from binderops.registry.picture import Picture, look_at
from binderops.registry.removing import remove
from binderops.registry.storage import Storage
from binderops.registry.sweeping import SETTLE_SECONDS, Sweep, Swept
from binderops.registry.uses import Uses

log = structlog.get_logger(__name__)

LOOK_SECONDS = 300.0
REST_SECONDS = 3600.0

_TOLD = 20


@dataclass(frozen=True)
class Budget:
    """How much the registry may hold, which images stay whatever happens, and times in seconds."""

    thresholds: Thresholds
    kept: Sequence[str] = ()
    delay: float = 0.0
    """Between two removals."""
    interval: float = LOOK_SECONDS
    """Between two looks."""
    rest: float = REST_SECONDS
    """An image that was used within this time is in use: the binder asks for those of running servers far more often.
    What was written within it may be a push that is not done. After it a storage that nobody changed is read again."""


class Cleaner:
    """Keeps one storage under its budget."""

    def __init__(
        self,
        storage: Storage,
        budget: Budget,
        uses: Uses,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._storage = storage
        self._budget = budget
        self._uses = uses
        self._metrics = metrics
        self._clock = clock
        self._pause = pause
        self._held = 0
        self._read = float("-inf")
        self._waiting = False
        self._told_stuck = False

    def run(self) -> None:
        """For ever. A look that fails is told and tried again: the registry beside this one goes on."""
        while True:
            try:
                self.look()
            except OSError as error:
                self._metrics.failures.inc()
                log.warning("the storage cannot be cleaned up", error=str(error))
            except Exception:
                self._metrics.failures.inc()
                log.exception("cleaning up the storage failed")
            self._pause(SETTLE_SECONDS if self._waiting else self._budget.interval)

    def look(self) -> bool:
        """Whether the storage was read; raises OSError."""
        changed = self._uses.changed.is_set()
        now = self._clock()
        high, _ = self._bounds(self._held)
        if not (changed or self._waiting or self._held > high or now - self._read >= self._budget.rest):
            return False
        self._uses.changed.clear()
        picture = self._look()
        if self._clean(picture):
            picture = self._look()
        swept = Sweep(self._storage, picture, now=self._clock(), young=self._budget.rest).run()
        self._waiting = swept.waiting
        self._metrics.freed.inc(swept.freed)
        self._metrics.held.dec(swept.freed)
        _tell(swept)
        return True

    def _look(self) -> Picture:
        picture = look_at(self._storage)
        self._read = self._clock()
        self._held = picture.held
        high, low = self._bounds(picture.held)
        self._metrics.held.set(picture.held + picture.aside_bytes)
        self._metrics.high.set(high)
        self._metrics.low.set(low)
        self._metrics.images.set(sum(len(repository.needs) for repository in picture.repositories))
        self._metrics.looked.set(self._read)
        return picture

    def _bounds(self, held: int) -> tuple[int, int]:
        # Read anew each time: on one machine everybody fills the same file system.
        found = os.statvfs(self._storage.root)
        return self._budget.thresholds.bounds(held, found.f_bavail * found.f_frsize)

    def _clean(self, picture: Picture) -> bool:
        """Remove images until little enough is needed; whether any went."""
        high, low = self._bounds(picture.held)
        if picture.held <= high:
            self._told_stuck = False
            return False
        freeing = Freeing(picture)
        # What nothing needs already, the sweep removes.
        needed = sum(blob.size for digest, blob in picture.blobs.items() if freeing.is_needed(digest))
        excess, removed = needed - low, 0
        before = self._clock() - self._budget.rest
        for image in removable(images_of(picture), kept=self._budget.kept, before=before):
            if excess <= 0:
                break
            if removed:
                self._pause(self._budget.delay)
            if remove(image):
                freed = freeing.remove(image)
                excess, removed = excess - freed, removed + 1
                self._metrics.removed.inc()
                _tell_removed(image, freed)
        self._tell_stuck(picture.held, high, excess)
        return removed > 0

    def _tell_stuck(self, held: int, high: int, excess: int) -> None:
        if excess > 0 and not self._told_stuck:
            log.warning(
                "the registry holds more than it should, and all of it is in use or kept",
                bytes=held,
                high=high,
                hint="raise registryServer.storage or imageCleaner's thresholds",
            )
        self._told_stuck = excess > 0


def _tell_removed(image: Image, freed: int) -> None:
    log.info(
        "removed an image",
        image=image.repository.name,
        tags=list(image.tags),
        digest=image.digest,
        last_used=datetime.fromtimestamp(image.used, UTC).isoformat(timespec="seconds"),
        frees=freed,
        why="it was not used for longest",
    )


def _tell(swept: Swept) -> None:
    if swept:
        log.info(
            "swept what nothing needs",
            links=swept.links,
            blobs=swept.blobs,
            uploads=swept.uploads,
            bytes=swept.freed,
            put_back=swept.put_back[:_TOLD],
        )
