"""The ReplicaSet controller: as many pods as asked for, of one template."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from binderops.errors import KubernetesError
from binderops.kube.kinds import POD, REPLICA_SET, Object
from binderops.kube.objects import (
    Key,
    annotations_of,
    conditions_of,
    is_deleting,
    labels_of,
    metadata_of,
    name_of,
    set_condition,
    spec_of,
    status_of,
)
from binderops.kube.selectors import from_labels
from binderops.node.controllers.machinery import Context, Controller, is_namespace_ending, selector_of
from binderops.node.controllers.workloads import (
    claim,
    created,
    earliest,
    generation_of,
    in_namespace,
    is_active,
    is_ready,
    pod_from_template,
    ready_since,
    replicas_of,
    seconds_until_available,
)

BURST = 16  # pods made or removed at once; the rest follows in the next sync


class ReplicaSetController(Controller):
    """Makes and removes pods, and counts them in the status."""

    name = "replicaset-controller"
    workers = 4

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sets = self.watch(REPLICA_SET)
        self._pods = context.informers.of(POD)
        self._owned = self.watch_owned(POD, self._sets)

    async def sync(self, key: Key) -> float | None:
        """One step towards the number of pods that is asked for."""
        replica_set = self._sets.objects.get(key)
        if replica_set is None:
            return None
        pods = await claim(self.context, replica_set, selector_of(replica_set), self._candidates(replica_set))
        active = [pod for pod in pods if is_active(pod)]
        failure = None if is_deleting(replica_set) else await self._manage(replica_set, active)
        now = self.context.now()
        pods = [pod for pod in self._owned.get(metadata_of(replica_set)["uid"]) if is_active(pod)]
        await self.context.update_status(replica_set, status_for(replica_set, pods, now, failure))
        if failure is not None:
            raise failure
        minimum = int(spec_of(replica_set).get("minReadySeconds") or 0)
        return earliest(seconds_until_available(pod, minimum, now) for pod in pods)

    def _candidates(self, replica_set: Object) -> list[Object]:
        return in_namespace(self._pods.objects, metadata_of(replica_set)["namespace"])

    async def _manage(self, replica_set: Object, active: list[Object]) -> KubernetesError | None:
        """Make or remove pods; the error that stood in the way, which the status tells too."""
        difference = len(active) - replicas_of(replica_set)
        if difference < 0:
            steps = [self._create(replica_set) for _ in range(min(-difference, BURST))]
        else:
            steps = [self._remove(replica_set, pod) for pod in to_remove(active, min(difference, BURST))]
        results = await asyncio.gather(*steps, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, KubernetesError):
                raise result
        if abs(difference) > BURST:
            self.queue.add((metadata_of(replica_set)["namespace"], name_of(replica_set)))
        return next((result for result in results if isinstance(result, KubernetesError)), None)

    async def _create(self, replica_set: Object) -> None:
        try:
            pod = await self.context.create(pod_from_template(replica_set, spec_of(replica_set).get("template") or {}))
        except KubernetesError as error:
            if is_namespace_ending(error):
                return
            await self.recorder.event(replica_set, "FailedCreate", f"Error creating: {error.what}", "Warning")
            raise
        await self.recorder.event(replica_set, "SuccessfulCreate", f"Created pod: {name_of(pod)}")

    async def _remove(self, replica_set: Object, pod: Object) -> None:
        await self.context.delete(pod)
        await self.recorder.event(replica_set, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")


def to_remove(active: Sequence[Object], count: int) -> list[Object]:
    """The pods that are the least loss, in Kubernetes' order (`controller.ActivePodsWithRanks`)."""
    return sorted(active, key=_worth)[: max(count, 0)]


def _worth(pod: Object) -> tuple[Any, ...]:
    phase = {"Pending": 0, "Unknown": 1, "Running": 2}.get(str(status_of(pod).get("phase") or "Pending"), 1)
    try:
        cost = int(annotations_of(pod).get("controller.kubernetes.io/pod-deletion-cost", "0"))
    except ValueError:
        cost = 0
    restarts = sum(int(entry.get("restartCount") or 0) for entry in status_of(pod).get("containerStatuses") or ())
    since = ready_since(pod)
    ready_for = -since.timestamp() if since is not None else 0.0  # ready for a shorter time goes first
    age = "".join(chr(0x10FFFF - ord(letter)) for letter in created(pod))  # younger goes first
    return bool(spec_of(pod).get("nodeName")), phase, is_ready(pod), cost, ready_for, -restarts, age


def status_for(
    replica_set: Object, active: Sequence[Object], now: datetime, failure: KubernetesError | None = None
) -> Object:
    """The status that these pods give."""
    template_labels = from_labels(labels_of(spec_of(replica_set).get("template") or {}))
    minimum = int(spec_of(replica_set).get("minReadySeconds") or 0)
    conditions = [entry for entry in conditions_of(replica_set) if entry.get("type") != "ReplicaFailure"]
    if failure is not None:
        new = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": failure.what}
        conditions = set_condition(conditions_of(replica_set), new, now=now)
    return {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(template_labels.matches(labels_of(pod)) for pod in active),
        "readyReplicas": sum(is_ready(pod) for pod in active),
        "availableReplicas": sum(seconds_until_available(pod, minimum, now) == 0 for pod in active),
        "observedGeneration": generation_of(replica_set),
        **({"conditions": conditions} if conditions or conditions_of(replica_set) else {}),
    }
