"""Which rooms run beside the API, and what each is given: the settings, and a client of its own.

Imported when the API is ready, so that what these rooms import does not delay it.
"""

from __future__ import annotations

import asyncio

from binderops.kube.client import Client
from binderops.kube.kinds import POD, SERVICE
from binderops.kube.objects import spec_of
from binderops.node import controllers, dns, lasting, network, pods
from binderops.node.config import NodeConfig
from binderops.node.rooms import Room, keep_running


def other_rooms(config: NodeConfig, settled: asyncio.Event) -> list[Room]:
    """The controllers, which need the API alone, and what works on this machine.

    `settled` is set once the pods' statuses and the published ports are those of this process, not of a former one.
    """

    async def run_controllers() -> None:
        async with _client(config, "controllers") as client:
            await controllers.run(client, config)

    return [Room("controllers", run_controllers), Room("machine", lambda: _run_machine(config, settled))]


async def stop_everything(config: NodeConfig) -> list[str]:
    """Stop the pods, the forwarder and the network of a node whose process does not run; files stay.

    Returns what stays with others' programs, in words.
    """
    await pods.stop(config)
    stays = await network.teardown(config)
    await asyncio.to_thread(lasting.clear, config.name)
    return stays


async def _run_machine(config: NodeConfig, settled: asyncio.Event) -> None:
    """Network, DNS and pods: they share the pods' networks, and wait for the bridge; the engine starts meanwhile."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_settle_at_once(config, settled))
        group.create_task(network.ensure_base(config))
        group.create_task(pods.prepare(config))
    pod_network = network.PodNetwork(config)
    pods_settled, network_settled = asyncio.Event(), asyncio.Event()

    async def run_network() -> None:
        async with _client(config, "network") as client:
            await network.run(client, config, pod_network, settled=network_settled)

    async def run_dns() -> None:
        async with _client(config, "dns") as client:
            await dns.run(client, config)

    async def run_pods() -> None:
        async with _client(config, "kubelet") as client:
            await pods.run(client, config, pod_network, settled=pods_settled)

    async with asyncio.TaskGroup() as group:
        for room in (Room("network", run_network), Room("dns", run_dns), Room("pods", run_pods)):
            group.create_task(keep_running(room), name=room.name)
        await network_settled.wait()
        await pods_settled.wait()
        settled.set()


async def _settle_at_once(config: NodeConfig, settled: asyncio.Event) -> None:
    """Set `settled` where the API tells nothing of this machine yet: no pod bound to it, no Service to publish."""
    async with _client(config, "kubelet") as client:
        bound = await client.list(POD, fields=f"spec.nodeName={config.name}", metadata_only=True)
        services = await client.list(SERVICE)
    if not bound.items and not any(spec_of(each).get("type") == "LoadBalancer" for each in services.items):
        settled.set()


def _client(config: NodeConfig, manager: str) -> Client:
    return Client.from_kubeconfig(config.node_kubeconfig, field_manager=manager)
