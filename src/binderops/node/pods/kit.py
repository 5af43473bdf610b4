"""What every pod's worker uses: the doors to the API, the engine, the network, and facts about the machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from binderops.errors import NotFoundError
from binderops.kube.client import Client
from binderops.kube.events import EventRecorder
from binderops.kube.informer import Informer
from binderops.kube.kinds import Kind, Object
from binderops.kube.objects import name_of, namespace_of, spec_of, uid_of
from binderops.node.config import NodeConfig
from binderops.node.pods.actions import Actions
from binderops.node.pods.engine import engine_settings
from binderops.node.pods.environment import Facts, service_variables
from binderops.node.pods.pulling import Puller
from binderops.node.pods.rendering import Machine
from binderops.node.pods.sources import Context
from binderops.node.pods.tokens import Tokens
from binderops.node.pods.unpacking import PullRoom
from binderops.node.pods.usage import room_of
from binderops.node.pods.volumes import Volumes
from binderops.podman import Podman

if TYPE_CHECKING:
    from binderops.node.network import PodNetwork


@dataclass
class Kit:
    """One node's tools; made once, shared by all workers."""

    config: NodeConfig
    client: Client
    podman: Podman
    network: PodNetwork
    recorder: EventRecorder
    services: Informer
    machine: Machine
    volumes: Volumes
    actions: Actions
    allocatable: dict[str, str]
    puller: Puller = field(init=False)
    tokens: Tokens = field(init=False)

    def __post_init__(self) -> None:
        room = PullRoom(engine_settings(self.config), lambda: room_of(self.config.state))
        self.puller = Puller(self.podman, self.fetch, room)
        self.tokens = Tokens(self.client)

    async def fetch(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object as it is now, or None. Asked each time: a pod must start with the Secret written just before."""
        try:
            return await self.client.get(kind, name, namespace or None)
        except NotFoundError:
            return None

    def facts(self, pod: Object, address: str) -> Facts:
        """What the pod's environment may refer to."""
        variables = service_variables(
            self.services.objects.values(),
            namespace=namespace_of(pod),
            links=spec_of(pod).get("enableServiceLinks") is not False,
            kubernetes_address=self.config.kubernetes_service_address,
        )
        return Facts(address, self.config.bridge_address, self.allocatable, variables)

    def context(self, address: str) -> Context:
        """What the pod's volumes are made from."""
        return Context(self.fetch, self.tokens.token, address, self.config.bridge_address, self.allocatable)

    def log_folder(self, pod: Object) -> Path:
        """Where the logs of a pod's containers lie: CONTAINER/ATTEMPT.log."""
        return self.config.state / "logs" / f"{namespace_of(pod)}_{name_of(pod)}_{uid_of(pod)}"
