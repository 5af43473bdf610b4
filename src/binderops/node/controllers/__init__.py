"""The node's controllers. They know only the Kubernetes API, so they work on any; each is level-triggered."""

from __future__ import annotations

import asyncio

from binderops.kube.client import Client
from binderops.kube.kinds import CONFIG_MAP, SERVICE_ACCOUNT
from binderops.node.controllers.cronjobs import CronJobController
from binderops.node.controllers.daemonsets import DaemonSetController
from binderops.node.controllers.deployments import DeploymentController
from binderops.node.controllers.disruption import DisruptionController
from binderops.node.controllers.endpoints import EndpointController
from binderops.node.controllers.garbage import GarbageCollector, only_metadata
from binderops.node.controllers.jobs import JobController
from binderops.node.controllers.machinery import Config, Context, Controller, Informers
from binderops.node.controllers.namespaces import NamespaceContentController, NamespaceController
from binderops.node.controllers.podgc import PodGarbageController
from binderops.node.controllers.replicasets import ReplicaSetController
from binderops.node.controllers.statefulsets import StatefulSetController
from binderops.node.controllers.unenforced import AutoscalerController, LimitRangeController, ResourceQuotaController
from binderops.node.controllers.volumes import ClaimController, VolumeController

CONTROLLERS: tuple[type[Controller], ...] = (
    NamespaceContentController,
    NamespaceController,
    DeploymentController,
    ReplicaSetController,
    StatefulSetController,
    DaemonSetController,
    JobController,
    CronJobController,
    EndpointController,
    ClaimController,
    VolumeController,
    DisruptionController,
    PodGarbageController,
    ResourceQuotaController,
    LimitRangeController,
    AutoscalerController,
    GarbageCollector,  # last: it adds informers of metadata alone for what no other reads
)


async def run(client: Client, config: Config) -> None:
    """Run every controller until cancelled. None starts before all informers have listed once."""
    informers = Informers(client)
    for kind in (CONFIG_MAP, SERVICE_ACCOUNT):  # nobody reads their content
        informers.of(kind, keep=only_metadata)
    context = Context(client, config, informers)
    controllers = [kind(context) for kind in CONTROLLERS]
    listed = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(informers.run(listed))
        await listed.wait()
        for controller in controllers:
            group.create_task(controller.run())
