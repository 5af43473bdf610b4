"""Taking pods that have no node. This is no scheduler: there is one node, and a pod fits it or stays Pending."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from binderops.errors import ConflictError, KubernetesError, NotFoundError
from binderops.kube.client import Client
from binderops.kube.events import EventRecorder
from binderops.kube.informer import Informer
from binderops.kube.kinds import NODE, POD, Object
from binderops.kube.objects import (
    conditions_of,
    is_deleting,
    name_of,
    namespace_of,
    set_condition,
    spec_of,
    status_of,
    uid_of,
)
from binderops.node.pods.admission import Refusal, refusal

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 20.0


class Binder:
    """Binds unscheduled pods; `run` until cancelled, `poke` when a pod or the node changed."""

    def __init__(self, client: Client, pods: Informer, recorder: EventRecorder, node: Object) -> None:
        self._client = client
        self._pods = pods
        self._recorder = recorder
        self._node = node
        self._changed = asyncio.Event()
        self._refused: dict[str, Refusal] = {}
        self._bound: set[str] = set()
        self.on_bound: Callable[[Object], None] = lambda pod: None

    def poke(self) -> None:
        """Look again."""
        self._changed.set()

    async def run(self) -> None:
        """Bind whatever fits, whenever something changed."""
        while True:
            self._changed.clear()
            for pod in list(self._pods.objects.values()):
                if _waits(pod) and uid_of(pod) not in self._bound:
                    await self._consider(pod)
            alive = {uid_of(pod) for pod in self._pods.objects.values()}
            self._bound &= alive
            self._refused = {uid: why for uid, why in self._refused.items() if uid in alive}
            try:
                async with asyncio.timeout(AGAIN_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                await self._look_at_node()

    async def _consider(self, pod: Object) -> None:
        if spec_of(pod).get("schedulingGates"):
            return
        others = [other for other in self._pods.objects.values() if spec_of(other).get("nodeName") and not _over(other)]
        why = refusal(pod, node=self._node, others=others)
        try:
            if why is not None:
                await self._refuse(pod, why)
            else:
                await self._bind(pod)
        except (NotFoundError, ConflictError):
            return  # gone, or somebody else bound it: the informer will tell
        except KubernetesError as error:
            log.warning("a pod could not be bound", pod=f"{namespace_of(pod)}/{name_of(pod)}", error=str(error))

    async def _bind(self, pod: Object) -> None:
        namespace, name, node = namespace_of(pod), name_of(pod), name_of(self._node)
        await self._client.request(
            "POST",
            f"{POD.path(namespace, name)}/binding",
            json={
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": name, "namespace": namespace, "uid": uid_of(pod)},
                "target": {"apiVersion": "v1", "kind": "Node", "name": node},
            },
        )
        self._bound.add(uid_of(pod))
        # What the API will tell us in a moment; a launch need not wait for it.
        self.on_bound({**pod, "spec": {**spec_of(pod), "nodeName": node}})
        await self._recorder.event(pod, "Scheduled", f"Successfully assigned {namespace}/{name} to {node}")

    async def _refuse(self, pod: Object, why: Refusal) -> None:
        if self._refused.get(uid_of(pod)) == why:
            return
        entry = {"type": "PodScheduled", "status": "False", "reason": why.reason, "message": why.message}
        conditions = set_condition(conditions_of(pod), entry)
        await self._client.patch(
            POD,
            name_of(pod),
            namespace_of(pod),
            {"metadata": {"uid": uid_of(pod)}, "status": {"phase": "Pending", "conditions": conditions}},
            subresource="status",
        )
        self._refused[uid_of(pod)] = why
        await self._recorder.event(pod, "FailedScheduling", why.message, "Warning")

    async def _look_at_node(self) -> None:
        """Labels of the node may have been changed by an operator."""
        try:
            self._node = await self._client.get(NODE, name_of(self._node))
        except KubernetesError as error:
            log.warning("the node object cannot be read", error=str(error))


def _waits(pod: Object) -> bool:
    return not spec_of(pod).get("nodeName") and not is_deleting(pod) and not _over(pod)


def _over(pod: Object) -> bool:
    return status_of(pod).get("phase") in ("Succeeded", "Failed")
