"""Cluster DNS: `run(client, config)` serves it on `config.dns_address`, port 53, UDP and TCP, until cancelled."""

from __future__ import annotations

import asyncio

from binderops.kube.client import Client
from binderops.kube.informer import Informer
from binderops.kube.kinds import ENDPOINT_SLICE, INGRESS, NAMESPACE, SERVICE
from binderops.node.config import NodeConfig
from binderops.node.dns.listener import listening
from binderops.node.dns.responder import Responder
from binderops.node.dns.upstream import Upstream
from binderops.node.dns.zone import Zone

__all__ = ["run"]

PORT = 53
GATHER_SECONDS = 0.02


async def run(client: Client, config: NodeConfig) -> None:
    """Serve cluster DNS until cancelled. It answers once the API's objects are known: a half-known cluster must not
    tell its clients that a Service does not exist. MachineError when port 53 of the address is taken.
    """
    kinds = (NAMESPACE, SERVICE, ENDPOINT_SLICE, INGRESS)
    informers = namespaces, services, slices, ingresses = tuple(Informer(client, kind) for kind in kinds)
    changed = asyncio.Event()
    for informer in informers:
        informer.subscribe(lambda *_: changed.set())

    def build() -> Zone:
        return Zone(
            domain=config.cluster_domain,
            own_ranges=(config.pod_range, config.service_range),
            namespaces=namespaces.objects.values(),
            services=services.objects.values(),
            slices=slices.objects.values(),
            ingresses=ingresses.objects.values(),
        )

    async with asyncio.TaskGroup() as tasks:
        for informer in informers:
            tasks.create_task(informer.run())
        for informer in informers:
            await informer.synced.wait()
        zone = build()
        responder = Responder(lambda: zone, Upstream(own_address=config.dns_address), domain=config.cluster_domain)
        async with listening(responder, config.dns_address, PORT):
            while True:
                await changed.wait()
                await asyncio.sleep(GATHER_SECONDS)
                changed.clear()
                zone = build()
