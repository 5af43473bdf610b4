"""Pods of builds that a test begins and ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.binder.cluster import NAMESPACE, Cluster, Run
from tests.binder.conftest import Served

from binderops.binder.builds.manifest import BuildRequest, build_pod
from binderops.binder.builds.pods import is_finished
from binderops.errors import NotFoundError
from binderops.kube.kinds import POD


class BuildPod:
    """A pod of a build, which runs until it is told to end. It is made elsewhere, as another replica's are."""

    def __init__(self, served: Served, cluster: Cluster, name: str) -> None:
        self.name = name
        self._served, self._cluster = served, cluster
        self._may_end = threading.Event()

    async def start(self, place: str) -> None:
        """Make it, to push to `place`."""

        async def script(run: Run) -> int:
            while not self._may_end.is_set():
                await asyncio.sleep(0.01)
            return 0

        self._may_end.clear()
        self._cluster.on_build("git://x", script)
        request = BuildRequest(self.name, "registry.test/image:1", "git://x", "main")
        manifest = build_pod(self._served.binder.settings, request, "a credential", place=place)
        created = await self._served.binder.pods.client.create(manifest)
        self.uid = created["metadata"]["uid"]

    async def end(self) -> None:
        """Let it succeed, and wait until the binder knows."""
        self._may_end.set()
        await self._served.binder.pods.wait_for_build(self.name, self.uid, is_finished, seconds=20)

    async def remove(self) -> None:
        """Delete it, and wait until the binder knows."""
        self._may_end.set()
        with suppress(NotFoundError):
            await self._served.binder.pods.client.delete(POD, self.name, NAMESPACE, uid=self.uid)
        await self._served.binder.pods.wait_for_build(self.name, self.uid, lambda pod: pod is None, seconds=20)


@asynccontextmanager
async def build_pod_of(served: Served, cluster: Cluster, name: str, place: str) -> AsyncIterator[BuildPod]:
    """A running build."""
    pod = BuildPod(served, cluster, name)
    await pod.start(place)
    try:
        yield pod
    finally:
        await pod.remove()
