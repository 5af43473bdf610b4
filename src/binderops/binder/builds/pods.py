"""What is known of build pods and users' pods, kept by watches: nobody asks the API twice for the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from binderops.binder.builds.manifest import SELECTOR
from binderops.errors import NotFoundError
from binderops.kube.client import Client
from binderops.kube.informer import Informer
from binderops.kube.kinds import POD, Object
from binderops.kube.objects import is_deleting, metadata_of, name_of, parse_timestamp, status_of, uid_of

FINISHED = frozenset({"Succeeded", "Failed"})


def user_selector(release: str) -> str:
    """What the pods of a release's users are labelled, as text. Their label `app` is the operator's (nameOverride)."""
    return f"component=singleuser-server,release={release}"


class Pods:
    """The pods that the binder looks at. `run` follows them until it is cancelled."""

    def __init__(self, client: Client, *, build_namespace: str, namespace: str, release: str) -> None:
        self.client = client
        self.build_namespace = build_namespace
        self._builds = Informer(client, POD, namespace=build_namespace, labels=SELECTOR)
        self._users = Informer(client, POD, namespace=namespace, labels=user_selector(release))
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._builds.subscribe(self._changed)

    async def run(self) -> None:
        """Follow both kinds of pods."""
        await asyncio.gather(self._builds.run(), self._users.run())

    async def synced(self, seconds: float) -> bool:
        """Whether everything has been listed once, waiting at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._builds.synced.wait()
                await self._users.synced.wait()
            return True
        return False

    @property
    def is_synced(self) -> bool:
        """Whether what is known here is what the API holds."""
        return self._builds.synced.is_set() and self._users.synced.is_set()

    @property
    def builds(self) -> list[Object]:
        """All build pods."""
        return list(self._builds.objects.values())

    @property
    def users(self) -> list[Object]:
        """All pods of users that have not ended."""
        return [pod for pod in self._users.objects.values() if phase_of(pod) not in FINISHED]

    def build(self, name: str) -> Object | None:
        """One build pod as it was seen last."""
        return self._builds.get(self.build_namespace, name)

    async def runs(self, name: str) -> Object | None:
        """A build pod that has not ended, or None; the API is asked for one that no watch has told of yet.

        Raises KubernetesError where that cannot be found out.
        """
        pod = self.build(name)
        if pod is None:
            with suppress(NotFoundError):
                pod = await self.client.get(POD, name, self.build_namespace)
        return None if is_finished(pod) else pod

    def observe(self, pod: Object) -> str:
        """Know a pod as the API just answered it, ahead of the watch; returns its uid."""
        self._builds.observe(pod)
        return uid_of(pod)

    async def wait_for_build(
        self, name: str, uid: str, holds: Callable[[Object | None], bool], *, seconds: float
    ) -> Object | None:
        """Wait until a condition holds for one very pod (None: it is gone); raises TimeoutError."""
        changed = asyncio.Event()
        self._waiting.setdefault(name, set()).add(changed)
        try:
            async with asyncio.timeout(seconds):
                while not holds(pod := self._very_build(name, uid)):
                    await changed.wait()
                    changed.clear()
                return pod
        finally:
            self._waiting[name].discard(changed)
            if not self._waiting[name]:
                del self._waiting[name]

    def _very_build(self, name: str, uid: str) -> Object | None:
        pod = self.build(name)
        return pod if pod is not None and uid_of(pod) == uid else None

    def _changed(self, kind: str, new: Object, old: Object | None) -> None:
        for event in self._waiting.get(name_of(new), ()):
            event.set()


def phase_of(pod: Object) -> str:
    """The pod's phase, "Unknown" where it has none yet."""
    return str(status_of(pod).get("phase") or "Pending")


def age_of(pod: Object) -> float:
    """Seconds since the pod was created."""
    created = metadata_of(pod).get("creationTimestamp")
    return (datetime.now(UTC) - parse_timestamp(created)).total_seconds() if created else 0.0


def is_finished(pod: Object | None) -> bool:
    """Whether nothing of the pod runs any more."""
    return pod is None or phase_of(pod) in FINISHED


def is_usable(pod: Object | None) -> bool:
    """Whether another watcher can attach to this build: it runs, or will."""
    return pod is not None and not is_deleting(pod) and phase_of(pod) not in FINISHED


def waiting_reason(pod: Object) -> tuple[str, str]:
    """Why the container does not run yet: the kubelet's reason and message, or empty ones."""
    for container in status_of(pod).get("containerStatuses") or []:
        waiting: dict[str, Any] = (container.get("state") or {}).get("waiting") or {}
        if waiting:
            return str(waiting.get("reason", "")), str(waiting.get("message", ""))
    return "", ""


def ending_of(pod: Object | None) -> str:
    """How the container ended, in words, for a log's last line."""
    if pod is None:
        return "the build pod was removed"
    status = status_of(pod)
    if status.get("reason"):
        return f"{status['reason']}: {status.get('message', '')}".rstrip(": .")
    for container in status.get("containerStatuses") or []:
        ended: dict[str, Any] = (container.get("state") or {}).get("terminated") or {}
        if ended:
            return f"{ended.get('reason') or 'Error'} (exit code {ended.get('exitCode')})"
    return "it ended without a reason"
