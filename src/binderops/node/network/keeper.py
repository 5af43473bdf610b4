"""The loop that keeps the kernel like the API: Services, policies, published ports."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from binderops.errors import BinderOpsError
from binderops.kube.client import Client
from binderops.kube.events import EventRecorder
from binderops.kube.informer import Informer
from binderops.kube.kinds import ENDPOINT_SLICE, NAMESPACE, NETWORK_POLICY, POD, SERVICE
from binderops.node.config import NodeConfig
from binderops.node.network.firewalls import watching
from binderops.node.network.loadbalancers import Events, LoadBalancers
from binderops.node.network.pods import PodNetwork
from binderops.node.network.programs import ip_json
from binderops.node.network.services import Frontend, ServicePort, read_service_ports, unsupported
from binderops.node.network.translation import Translation
from binderops.node.network.view import ClusterView

log = structlog.get_logger(__name__)

GATHER_SECONDS = 0.02
"""Changes that come together (a rollout) are written together."""

NOT_SUPPORTED = "NotSupported"
RETRY_SECONDS = 5.0
"""How often a Service that waits for a port is tried again."""


async def run(client: Client, config: NodeConfig, network: PodNetwork, *, settled: asyncio.Event | None = None) -> None:
    """Follow the API and keep the node's network like it, until cancelled. `ensure_base` must have run.

    `settled` is set once it is: what the Services' statuses say of public ports is true from then on.
    """
    kinds = (NAMESPACE, SERVICE, ENDPOINT_SLICE, NETWORK_POLICY)
    namespaces, services, slices, policies = (Informer(client, kind) for kind in kinds)
    pods = Informer(client, POD, keep=_what_policies_read)
    informers = (namespaces, services, slices, policies, pods)
    view = ClusterView(namespaces.objects, pods.objects, services.objects, slices.objects, policies.objects)
    for informer in informers:
        informer.subscribe(view.notice)
    recorder = EventRecorder(client, "binderops-network")
    keeper = Keeper(config, view, network, LoadBalancers(config, client, recorder), recorder)
    async with asyncio.TaskGroup() as tasks:
        for informer in informers:
            tasks.create_task(informer.run())
        for informer in informers:
            await informer.synced.wait()
        tasks.create_task(keeper.run(settled))
        tasks.create_task(watching.run(client, config, keeper.rebuild))


class Keeper:
    """Brings everything up to date when the view's bell rings."""

    def __init__(
        self, config: NodeConfig, view: ClusterView, network: PodNetwork, balancers: LoadBalancers, recorder: Events
    ) -> None:
        self._config = config
        self._view = view
        self._network = network
        self._balancers = balancers
        self._recorder = recorder
        self._translation = Translation(config)
        network.isolate_by(self._translation.isolate)
        self._reported: dict[str, list[str]] = {}

    async def run(self, settled: asyncio.Event | None = None) -> None:
        """Sync until cancelled, and set `settled` once it was possible.

        A failure is logged and tried again: what worked before stays in force meanwhile.
        """
        self._view.changed.set()
        while True:
            try:
                async with asyncio.timeout(RETRY_SECONDS if self._balancers.pending else None):
                    await self._view.changed.wait()
                await asyncio.sleep(GATHER_SECONDS)
            except TimeoutError:
                pass
            self._view.changed.clear()
            try:
                await self.sync()
                if settled is not None:
                    settled.set()
            except BinderOpsError as error:
                log.error("the network could not be brought up to date", error=str(error))
                await asyncio.sleep(1.0)
                self._view.changed.set()

    def rebuild(self) -> None:
        """Write the node's table anew, which somebody has removed."""
        self._translation.forget()
        self._view.changed.set()

    async def sync(self) -> None:
        """Bring the kernel and the statuses up to date once. NetworkError when something is refused."""
        ports = read_service_ports(self._view.services.values(), self._view.slices.values())
        await self._write(ports)
        if await self._balancers.sync(list(self._view.services.values()), ports):
            await self._write(ports)
        await self._report_unsupported()

    async def _report_unsupported(self) -> None:
        """Say once, by name, what a Service asks for in vain."""
        reported, self._reported = self._reported, {}
        for service in list(self._view.services.values()):
            missing = unsupported(service)
            if missing:
                uid = str(service["metadata"].get("uid"))
                self._reported[uid] = missing
                if reported.get(uid) != missing:
                    message = f"not supported by this node's network, and left out: {'; '.join(missing)}"
                    await self._recorder.event(service, NOT_SUPPORTED, message, "Warning")

    async def _write(self, ports: list[ServicePort]) -> None:
        published = self._balancers.published
        outer = await asyncio.to_thread(_outer_frontends, self._config, ports)
        outer |= published
        inner = {port.cluster_frontend: port for port in ports}
        addresses = [attachment.address for attachment in (await self._network.attached()).values()]
        await self._translation.sync(ports, published, addresses, self._network.closed)
        self._network.follow(self._view, inner | outer, tuple(sorted(outer)))
        await self._network.refresh()
        # Policies may have come or gone; a pod that is attached meanwhile has seen to it itself.
        await self._translation.sync(ports, published, addresses, self._network.closed)


def _outer_frontends(config: NodeConfig, ports: list[ServicePort]) -> dict[Frontend, ServicePort]:
    """Node ports, at every address of the host that a pod could name."""
    with_node_port = [port for port in ports if port.node_port]
    if not with_node_port:
        return {}
    addresses = {config.bridge_address}
    for link in ip_json("-4", "address", "show", "up"):
        addresses |= {str(entry["local"]) for entry in link.get("addr_info", []) if entry.get("scope") != "host"}
    return {Frontend(address, port.protocol, port.node_port): port for port in with_node_port for address in addresses}


def _what_policies_read(pod: dict[str, Any]) -> dict[str, Any]:
    """The little of a pod that this room reads: a node's pods are the largest of its objects."""
    meta, spec = pod["metadata"], pod.get("spec") or {}

    def ports(kind: str) -> list[dict[str, Any]]:
        return [
            {key: entry[key] for key in ("ports", "restartPolicy") if key in entry} for entry in spec.get(kind) or []
        ]

    return {
        "metadata": {
            key: meta[key] for key in ("name", "namespace", "uid", "labels", "resourceVersion") if key in meta
        },
        "spec": {"containers": ports("containers"), "initContainers": ports("initContainers")},
        "status": {"phase": (pod.get("status") or {}).get("phase")},
    }
