"""PodNetwork: makes and removes the networks of pods, and keeps the policies inside them.

A pod's policies are in force before `attach` returns, so before its first process runs. What the kernel has is the
only record: a restarted node reads namespaces and aliases, and takes every pod up again where it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from binderops.errors import NetworkError
from binderops.node.config import NodeConfig
from binderops.node.network import links
from binderops.node.network.addresses import AddressPool
from binderops.node.network.names import PodNames, node_table, pod_names
from binderops.node.network.podrules import ServiceAccess, Surroundings, render, service_access
from binderops.node.network.policies import PolicyView, dns_peer, named_addresses, pod_peer
from binderops.node.network.programs import in_namespace, nft
from binderops.node.network.ruleset import Closed, isolation
from binderops.node.network.services import Frontend, ServicePort
from binderops.node.network.view import ClusterView

log = structlog.get_logger(__name__)

Pod = Mapping[str, Any]
Isolate = Callable[[str], Awaitable[None]]
SYNC_SECONDS = 60.0
"""How long `attach` waits for the policies to be known at all."""

_PARALLEL = 4
_LOCKS = 64
_FINISHED = ("Succeeded", "Failed")


class Attachment(NamedTuple):
    """A pod's network: the namespace as a path, and its address."""

    namespace: Path
    address: str


@dataclass
class _Entry:
    names: PodNames
    address: str
    pod: Pod | None = None
    applied: str | None = None
    """The policy script that is in force; None when it is not known (after a restart)."""
    isolated: bool = True
    """Whether a policy for egress selects it; who is not known yet may be."""


class PodNetwork:
    """The networks of one node's pods. All methods may be called at the same time, also for one pod."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._entries: dict[str, _Entry] | None = None
        self._pool = AddressPool(config.pod_range)
        self._locks = tuple(asyncio.Lock() for _ in range(_LOCKS))
        self._names: set[PodNames] = set()
        self._loading = asyncio.Lock()
        self._view: ClusterView | None = None
        self._followed = asyncio.Event()
        self._frontends: dict[Frontend, ServicePort] = {}
        self._outer: tuple[Frontend, ...] = ()
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._isolate: Isolate = self._isolate_alone
        self._coming: set[str] = set()
        """Addresses of pods that are isolated and not there yet."""
        self._mtu = links.DEFAULT_MTU

    async def attach(self, pod: Pod) -> Attachment:
        """Give the pod its network, or find the one it has. Idempotent by uid; policies are in force on return.

        Raises NetworkError when the kernel refuses, no address is free, or the policies are not known within
        60 seconds (the API does not answer: a pod must not start unguarded).
        """
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await self._followed.wait()
        except TimeoutError:
            raise NetworkError(
                "a pod's network waits for the NetworkPolicies",
                where=f"{pod['metadata']['namespace']}/{pod['metadata']['name']}",
                why=f"the API has not answered for {SYNC_SECONDS:.0f} s",
            ) from None
        # Shielded: threads cannot be cancelled, so a cancelled caller leaves a finished network, never half of one.
        entry = await asyncio.shield(asyncio.ensure_future(self._attach(str(pod["metadata"]["uid"]), pod)))
        return Attachment(entry.names.path, entry.address)

    async def detach(self, uid: str) -> None:
        """Remove the pod's network and give its address back. Idempotent."""
        await asyncio.shield(asyncio.ensure_future(self._detach(uid)))

    async def attached(self) -> dict[str, Attachment]:
        """Every pod's network by uid, including those that an earlier process made."""
        return {uid: Attachment(entry.names.path, entry.address) for uid, entry in (await self._load()).items()}

    def follow(
        self, view: ClusterView, frontends: Mapping[Frontend, ServicePort], outer: tuple[Frontend, ...] = ()
    ) -> None:
        """Take policies, pods and namespaces from `view`, and Service addresses as given (`outer`: on the host's own).

        The first call lets `attach` go on. `refresh` brings the pods that are there up to date.
        """
        self._view = view
        self._frontends = dict(frontends)
        self._outer = outer
        self._followed.set()

    def isolate_by(self, isolate: Isolate) -> None:
        """Who closes the machine to a pod that is about to be there: whoever writes the node's table."""
        self._isolate = isolate

    async def closed(self) -> Closed:
        """Who is kept from this machine's own addresses, as of the last `refresh`."""
        isolated = frozenset(entry.address for entry in (await self._load()).values() if entry.isolated)
        isolated |= self._coming
        return Closed(isolated, named_addresses(self._view.policies.values()) if self._view else frozenset())

    async def refresh(self) -> int:
        """Write the policies of every pod whose rules differ from what is in force; returns how many were written."""
        entries = await self._load()
        view = self._policy_view()
        cache: dict[Any, ServiceAccess] = {}
        changed = [
            (uid, script)
            for uid, entry in list(entries.items())
            if (script := self._script(entry, view, cache)) != entry.applied
        ]
        results = await asyncio.gather(*(self._update(uid, script) for uid, script in changed), return_exceptions=True)
        for (uid, _), result in zip(changed, results, strict=True):
            if isinstance(result, BaseException):
                log.error("a pod's policies could not be written", uid=uid, error=str(result))
                self._ring_later()
        return len(changed)

    async def _attach(self, uid: str, pod: Pod) -> _Entry:
        async with self._lock(uid):
            entries = await self._load()
            entry = entries.get(uid)
            if entry is None:
                entry = entries[uid] = await self._create(uid, pod)
                self._coming.discard(entry.address)
            else:
                entry.pod = pod
                await self._apply(entry, self._script(entry))
        self._ring()
        return entry

    async def _detach(self, uid: str) -> None:
        async with self._lock(uid):
            entry = (await self._load()).pop(uid, None)
            if entry is None:
                return
            await asyncio.to_thread(links.remove, entry.names)
            self._release(entry)
        self._ring()

    async def _create(self, uid: str, pod: Pod) -> _Entry:
        began = time.monotonic()
        entry = _Entry(self._reserve_names(uid), self._pool.allocate(), pod)
        entry.applied = self._script(entry)
        try:
            if entry.isolated:
                self._coming.add(entry.address)
                await self._isolate(entry.address)
            await asyncio.to_thread(
                links.create, entry.names, entry.address, host_address=self._config.bridge_address, mtu=self._mtu
            )
            await in_namespace(entry.names.path, lambda: _configure(entry.address, entry.applied))
            await asyncio.to_thread(links.mark_done, entry.names, uid, entry.address)
        except BaseException:
            await asyncio.to_thread(links.remove, entry.names)
            self._release(entry)
            self._ring()
            raise
        log.debug("pod attached", uid=uid, address=entry.address, seconds=round(time.monotonic() - began, 3))
        return entry

    async def _isolate_alone(self, address: str) -> None:
        await asyncio.to_thread(nft, isolation(node_table(self._config.name), address))

    def _reserve_names(self, uid: str) -> PodNames:
        attempt = 0
        while (names := pod_names(self._config.name, uid, attempt=attempt)) in self._names:
            attempt += 1
        self._names.add(names)
        return names

    def _release(self, entry: _Entry) -> None:
        self._names.discard(entry.names)
        self._coming.discard(entry.address)
        self._pool.release(entry.address)

    async def _update(self, uid: str, script: str | None) -> None:
        async with self._slots, self._lock(uid):
            entry = (await self._load()).get(uid)
            if entry is not None:
                await self._apply(entry, script)

    async def _apply(self, entry: _Entry, script: str | None) -> None:
        if script is not None and entry.applied != script:
            await in_namespace(entry.names.path, lambda: nft(script))
            entry.applied = script

    def _script(
        self, entry: _Entry, view: PolicyView | None = None, cache: dict[Any, ServiceAccess] | None = None
    ) -> str | None:
        """The policies of one pod as nftables text; what is in force, for a pod that nobody has told of yet."""
        pod = self._latest(entry)
        if pod is None:
            return entry.applied
        rules = (view or self._policy_view()).rules_for(pod_peer(pod, entry.address))
        entry.isolated = rules.egress is not None
        access = ServiceAccess()
        if rules.egress is not None:
            cache = {} if cache is None else cache
            if rules.egress not in cache:
                cache[rules.egress] = service_access(rules.egress, self._frontends)
            access = cache[rules.egress]
        around = Surroundings(self._config.bridge_address, self._config.service_range, self._outer)
        return render(rules, access, around)

    def _latest(self, entry: _Entry) -> Pod | None:
        """The pod as the view has it (labels may have changed), if it is still the same pod."""
        if entry.pod is None or self._view is None:
            return entry.pod
        meta = entry.pod["metadata"]
        seen = self._view.pods.get((meta["namespace"], meta["name"]))
        return seen if seen is not None and seen["metadata"].get("uid") == meta["uid"] else entry.pod

    def _policy_view(self) -> PolicyView:
        if self._view is None:
            raise NetworkError("the NetworkPolicies are not known yet")
        self._adopt(self._view)
        peers = [dns_peer(self._config.dns_address)]
        for entry in (self._entries or {}).values():
            pod = self._latest(entry)
            if pod is not None and (pod.get("status") or {}).get("phase") not in _FINISHED:
                peers.append(pod_peer(pod, entry.address))
        namespaces = {
            name: {"kubernetes.io/metadata.name": name, **(namespace["metadata"].get("labels") or {})}
            for (_, name), namespace in self._view.namespaces.items()
        }
        return PolicyView(list(self._view.policies.values()), namespaces, tuple(peers))

    def _adopt(self, view: ClusterView) -> None:
        """Find the pods of networks that an earlier process made."""
        orphans = {uid: entry for uid, entry in (self._entries or {}).items() if entry.pod is None}
        if orphans:
            for pod in view.pods.values():
                entry = orphans.get(str(pod["metadata"].get("uid")))
                if entry is not None:
                    entry.pod = pod

    async def _load(self) -> dict[str, _Entry]:
        async with self._loading:
            if self._entries is None:
                self._entries = await asyncio.to_thread(self._read_kernel)
            return self._entries

    def _read_kernel(self) -> dict[str, _Entry]:
        """Take up finished networks, and remove what a killed process left half made."""
        self._mtu = links.outgoing_mtu()
        found = links.finished(self._config.name)
        self._names = {names for names, _ in found.values()}
        for names in links.namespaces_of(self._config.name):
            if names not in self._names:
                links.remove(names)
        self._pool = AddressPool(self._config.pod_range, [address for _, address in found.values()])
        return {uid: _Entry(names, address) for uid, (names, address) in found.items()}

    def _lock(self, uid: str) -> asyncio.Lock:
        """One pod's operations wait for each other; a few pods share a lock, so that locks need no bookkeeping."""
        return self._locks[hash(uid) % _LOCKS]

    def _ring(self) -> None:
        if self._view is not None:
            self._view.changed.set()

    def _ring_later(self) -> None:
        asyncio.get_running_loop().call_later(1.0, self._ring)


def _configure(address: str, script: str | None) -> None:
    """Runs in the pod's namespace. Rules come first: nothing passes before they are there."""
    if script:
        nft(script)
    links.configure_inside(address)
