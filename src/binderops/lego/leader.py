"""One of several replicas works: who holds the Lease (coordination.k8s.io).

As client-go has it, other clocks are not trusted: a holder is gone when its Lease did not change for as long as it
lasts, by our own clock. A replica is known by its pod's name, so a process that is started again in its pod goes on at
once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog

from binderops.errors import AlreadyExistsError, ConflictError, KubernetesError, NotFoundError
from binderops.kube.client import Client
from binderops.kube.kinds import LEASE, Object
from binderops.kube.objects import metadata_of, micro_timestamp, spec_of

log = structlog.get_logger(__name__)

LEASE_NAME = "kube-lego"


class Leader:
    """Holds, or waits for, one Lease."""

    def __init__(self, client: Client, *, namespace: str, identity: str, seconds: float = 15.0) -> None:
        self._client = client
        self._namespace = namespace
        self._identity = identity
        self._seconds = seconds
        self._seen: tuple[str, float] = ("", 0.0)  # the Lease's version, and since when it has not changed
        self.leading = False

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` whenever this replica leads, and cancel it when it does not; until cancelled, or work raises."""
        while True:
            while not await self._try():
                await asyncio.sleep(self._seconds / 5)
            log.info("leading", identity=self._identity)
            self.leading = True
            try:
                await self._lead(work)
            finally:
                self.leading = False

    async def release(self) -> None:
        """Let another replica go on at once."""
        with contextlib.suppress(KubernetesError):
            lease = await self._client.get(LEASE, LEASE_NAME, self._namespace)
            if spec_of(lease).get("holderIdentity") == self._identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._client.replace(lease)

    async def _lead(self, work: Callable[[], Awaitable[None]]) -> None:
        working = asyncio.ensure_future(work())
        holding = asyncio.ensure_future(self._hold())
        try:
            done, _ = await asyncio.wait({working, holding}, return_when=asyncio.FIRST_COMPLETED)
            if working in done:
                working.result()
                raise RuntimeError("the work ended by itself")
            log.warning("the lease was lost: another replica may lead")
        finally:
            for task in (working, holding):
                task.cancel()
            await asyncio.gather(working, holding, return_exceptions=True)

    async def _hold(self) -> None:
        """Renew until it fails for two thirds of the Lease's time: before another may take it, work has ended."""
        renewed = time.monotonic()
        while time.monotonic() - renewed < self._seconds * 2 / 3:
            await asyncio.sleep(self._seconds / 5)
            if await self._try():
                renewed = time.monotonic()

    async def _try(self) -> bool:
        try:
            async with asyncio.timeout(self._seconds / 3):
                return await self._take()
        except (KubernetesError, TimeoutError) as error:
            log.warning("the lease could not be had", error=str(error) or "no answer in time")
            return False

    async def _take(self) -> bool:
        try:
            lease = await self._client.get(LEASE, LEASE_NAME, self._namespace)
        except NotFoundError:
            metadata = {"name": LEASE_NAME, "namespace": self._namespace}
            lease = {"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": metadata, "spec": self._spec({})}
            with contextlib.suppress(AlreadyExistsError):
                await self._client.create(lease)
                return True
            return False
        spec, version = spec_of(lease), str(metadata_of(lease).get("resourceVersion"))
        now = time.monotonic()
        if version != self._seen[0]:
            self._seen = (version, now)
        holder = spec.get("holderIdentity") or ""
        lasts = float(spec.get("leaseDurationSeconds") or 0)
        if holder not in ("", self._identity) and now - self._seen[1] < lasts:
            return False
        lease["spec"] = self._spec(spec)
        with contextlib.suppress(ConflictError):
            self._seen = (str(metadata_of(await self._client.replace(lease)).get("resourceVersion")), now)
            return True
        return False

    def _spec(self, before: Object) -> Object:
        same = before.get("holderIdentity") == self._identity
        moment = micro_timestamp()
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._seconds)),
            "acquireTime": before.get("acquireTime", moment) if same else moment,
            "renewTime": moment,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if same else 1),
        }
