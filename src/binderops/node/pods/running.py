"""Putting the room together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from binderops.errors import EngineError, KubernetesError, MachineError
from binderops.kube.client import Client
from binderops.kube.events import EventRecorder
from binderops.kube.informer import EventType, Informer
from binderops.kube.kinds import CONFIG_MAP, NODE, POD, SECRET, SERVICE, Object
from binderops.node.clock import Clock
from binderops.node.config import NodeConfig
from binderops.node.pods import cgroups, engine, registration
from binderops.node.pods.actions import Actions
from binderops.node.pods.binding import Binder
from binderops.node.pods.kit import Kit
from binderops.node.pods.manager import Manager
from binderops.node.pods.rendering import Machine
from binderops.node.pods.volumes import Volumes
from binderops.podman import EngineSettings, Podman

if TYPE_CHECKING:
    from binderops.node.network import PodNetwork

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
LATE_SECONDS = 5.0


async def prepare(config: NodeConfig) -> None:
    """Start the engine while the network is made: `run` then finds it. What is wrong with it is `run`'s to say."""
    with contextlib.suppress(EngineError, MachineError, OSError):
        await engine.begin(config)


async def run(client: Client, config: NodeConfig, network: PodNetwork, *, settled: asyncio.Event | None = None) -> None:
    """Run the node's pods until cancelled. EngineError or MachineError if this machine cannot run containers.

    `settled` is set once the API has the status of every pod as this process finds it.
    """
    settings = await engine.begin(config)
    await asyncio.to_thread(cgroups.limit_node, config.name)
    async with Podman(settings.socket) as podman:
        actions = Actions(podman)
        try:
            await _run(client, config, network, settings, podman, actions, settled or asyncio.Event())
        finally:
            await actions.close()


async def _run(
    client: Client,
    config: NodeConfig,
    network: PodNetwork,
    settings: EngineSettings,
    podman: Podman,
    actions: Actions,
    settled: asyncio.Event,
) -> None:
    node, told = await _register(client, config, podman)
    recorder = EventRecorder(client, "kubelet")
    pods, services = Informer(client, POD), Informer(client, SERVICE)
    sources = [Informer(client, kind, keep=_without_data, metadata_only=True) for kind in (CONFIG_MAP, SECRET)]
    kit = Kit(
        config=config,
        client=client,
        podman=podman,
        network=network,
        recorder=recorder,
        services=services,
        machine=Machine(config.name, config.user_namespace, registration.memory_bytes(), _own_oom_score()),
        volumes=Volumes(engine.disk_folder(config), engine.memory_folder(config), shared=config.user_namespace),
        actions=actions,
        allocatable=registration.allocatable(registration.capacity(config.state)),
    )
    manager = Manager(kit, pods, Binder(client, pods, recorder, node))
    for source in sources:
        source.subscribe(manager.source_changed)
    hosts = _HostsKeeper(settings, services)

    # The kubelet's endpoint loads Starlette and uvicorn, which nothing before needs.
    from binderops.node.pods.kubelet import serve

    async with asyncio.TaskGroup() as group:
        for informer in (pods, services, *sources):
            group.create_task(informer.run())
        group.create_task(hosts.run())
        group.create_task(registration.keep_lease(client, config))
        if not told:
            group.create_task(_register_late(client, config, podman))
        group.create_task(engine.listen(settings, podman, config.name, manager.ended, manager.missed))
        group.create_task(serve(config, kit, manager))
        group.create_task(Clock(config.state / "clock").run(manager.clock_was_set))
        await services.synced.wait()
        group.create_task(manager.run(settled))


async def _register(client: Client, config: NodeConfig, podman: Podman) -> tuple[Object, bool]:
    """The Node object, and whether it tells of this start; made as soon as the API takes it.

    On a disk that takes no write the one of the last start will do: what makes room there waits for this.
    """
    while True:
        try:
            return await _describe(client, config, podman), True
        except KubernetesError as error:
            log.warning("the node could not be registered yet", error=str(error))
        with contextlib.suppress(KubernetesError):
            return await client.get(NODE, config.name), False
        await asyncio.sleep(RETRY_SECONDS)


async def _describe(client: Client, config: NodeConfig, podman: Podman) -> Object:
    description = {}
    with contextlib.suppress(EngineError):
        description = await podman.info()
    return await registration.register(client, config, description)


async def _register_late(client: Client, config: NodeConfig, podman: Podman) -> None:
    while True:
        await asyncio.sleep(LATE_SECONDS)
        with contextlib.suppress(KubernetesError):
            await _describe(client, config, podman)
            return


class _HostsKeeper:
    """Writes the engine's hosts file whenever a Service changed, once for many changes."""

    def __init__(self, settings: EngineSettings, services: Informer) -> None:
        self._settings = settings
        self._services = services
        self._changed = asyncio.Event()
        services.subscribe(self._note)

    def _note(self, event_type: EventType, new: Object, old: Object | None) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            current: Iterable[Object] = list(self._services.objects.values())
            try:
                await asyncio.to_thread(engine.write_hosts, self._settings, current)
            except OSError as error:
                log.warning("the engine's hosts file cannot be written", error=str(error), retry_seconds=RETRY_SECONDS)
                self._changed.set()
                await asyncio.sleep(RETRY_SECONDS)


def _without_data(obj: Object) -> Object:
    """Only that a ConfigMap or Secret changed matters here: their content is asked for when it is used."""
    for key in ("data", "binaryData", "stringData"):
        obj.pop(key, None)
    obj.get("metadata", {}).pop("managedFields", None)
    return obj


def _own_oom_score() -> int:
    return int(Path("/proc/self/oom_score_adj").read_text())
