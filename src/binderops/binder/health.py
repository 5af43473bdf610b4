"""`/health`: each check runs at most once in its period, whoever asks, and is bad only after three attempts.

A good answer is kept for long, a bad one for as long as many askers at once need to share it: whoever waits for the
binder to be well again learns it when it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from binderops.binder.builds.pods import Pods
from binderops.binder.launches.hub import Hub
from binderops.binder.launches.quota import total_pods
from binderops.binder.naming import image_name
from binderops.oci.insisting import Patience
from binderops.oci.references import Reference
from binderops.oci.registry import Registry

log = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[bool]]
Clock = Callable[[], float]
_GOOD_SECONDS = 15.0
_BAD_SECONDS = 1.0
_ATTEMPTS = 3
# Visitors wait for a registry that is replaced; whoever asks whether all is well wants to know that it is away.
_REGISTRY_PATIENCE = Patience(answer=5.0, away=2.0)


class CachedCheck:
    """One named check. Concurrent calls share one run."""

    def __init__(self, service: str, check: Check, *, pause: float = 1.0, clock: Clock = time.monotonic) -> None:
        self._service = service
        self._check = check
        self._pause = pause
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known_until = 0.0
        self._ok = False

    async def result(self) -> dict[str, Any]:
        """The check's row."""
        async with self._lock:
            if self._known_until < self._clock():
                self._ok = await self._try()
                self._known_until = self._clock() + (_GOOD_SECONDS if self._ok else _BAD_SECONDS)
        return {"service": self._service, "ok": self._ok}

    async def _try(self) -> bool:
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(self._pause)
            try:
                if await self._check():
                    return True
            except Exception as error:  # whatever it is, the service it asks for is not well
                log.warning("a health check failed", service=self._service, error=f"{type(error).__name__}: {error}")
        return False


class Health:
    """The whole of `/health`."""

    def __init__(self, registry: Registry, image_prefix: str, hub: Hub, pods: Pods, *, quota: int | None) -> None:
        repository = Reference.parse(image_name(image_prefix, "some-image-name", identity="", ref="12345")).repository

        async def registry_answers() -> bool:
            await registry.head_manifest(repository, "12345", patience=_REGISTRY_PATIENCE)
            return True

        self._checks = [
            CachedCheck("Docker registry", registry_answers),
            CachedCheck("JupyterHub API", hub.is_healthy),
        ]
        self._pods = pods
        self._quota = quota

    async def report(self) -> tuple[bool, list[dict[str, Any]]]:
        """Whether all is well, and each row."""
        rows = list(await asyncio.gather(*(check.result() for check in self._checks)))
        rows.append(self._pod_quota())
        return all(row["ok"] for row in rows if not row.get("_ignore_failure")), rows

    def _pod_quota(self) -> dict[str, Any]:
        users, builds = total_pods(self._pods), len(self._pods.builds)
        return {
            "service": "Pod quota",
            "total_pods": users + builds,
            "build_pods": builds,
            "user_pods": users,
            "quota": self._quota,
            "ok": self._pods.is_synced and (self._quota is None or users + builds <= self._quota),
            "_ignore_failure": True,
        }
