"""The PodDisruptionBudget controller: how many pods may be evicted just now."""

from __future__ import annotations

from collections.abc import Sequence

from binderops.kube.informer import Informer
from binderops.kube.kinds import DEPLOYMENT, POD, POD_DISRUPTION_BUDGET, REPLICA_SET, STATEFUL_SET, Object
from binderops.kube.objects import (
    Key,
    conditions_of,
    controller_of,
    is_pod_ready,
    labels_of,
    namespace_of,
    set_condition,
    spec_of,
    uid_of,
)
from binderops.kube.selectors import from_label_selector
from binderops.node.controllers.machinery import Context, Controller, selector_of
from binderops.node.controllers.workloads import generation_of, in_namespace, is_finished, replicas_of, scaled


class DisruptionController(Controller):
    """Keeps the status of budgets; the API's eviction reads it."""

    name = "disruption-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._budgets = self.watch(POD_DISRUPTION_BUDGET)
        self._pods = context.informers.of(POD)
        self._pods.subscribe(self._pod_changed)
        self._workloads: dict[str, Informer] = {
            kind.kind: context.informers.of(kind) for kind in (DEPLOYMENT, REPLICA_SET, STATEFUL_SET)
        }

    def _pod_changed(self, _event: str, new: Object, old: Object | None) -> None:
        for key, budget in self._budgets.objects.items():
            if key[0] == namespace_of(new):
                selector = from_label_selector(spec_of(budget).get("selector"))
                if selector.matches(labels_of(new)) or (old is not None and selector.matches(labels_of(old))):
                    self.queue.add(key)

    async def sync(self, key: Key) -> float | None:
        """The status of one budget."""
        budget = self._budgets.objects.get(key)
        if budget is None:
            return None
        selector = selector_of(budget)
        pods = [
            pod
            for pod in in_namespace(self._pods.objects, key[0])
            if selector.matches(labels_of(pod)) and not is_finished(pod)
        ]
        await self.context.update_status(budget, status_for(budget, pods, self._expected_scale(pods)))
        return None

    def _expected_scale(self, pods: Sequence[Object]) -> int:
        """The replicas that the pods' workloads ask for, a pod without one counted by itself."""
        scales: dict[str, int] = {}
        for pod in pods:
            uid, replicas = uid_of(pod), 1
            owner: Object | None = pod
            while owner is not None and (reference := controller_of(owner)) is not None:
                informer = self._workloads.get(str(reference.get("kind")))
                owner = informer.get(namespace_of(pod), str(reference["name"])) if informer is not None else None
                if owner is not None:
                    uid, replicas = uid_of(owner), replicas_of(owner)
            scales[uid] = replicas
        return sum(scales.values())


def status_for(budget: Object, pods: Sequence[Object], expected: int) -> Object:
    """The status of a budget whose selector matches these pods."""
    spec = spec_of(budget)
    healthy = sum(map(is_pod_ready, pods))
    if spec.get("maxUnavailable") is not None:
        desired = expected - scaled(spec["maxUnavailable"], expected, round_up=True, default=0)
    elif isinstance(spec.get("minAvailable"), str):
        desired = scaled(spec["minAvailable"], expected, round_up=True, default=0)
    else:
        desired = int(spec.get("minAvailable") or 0)
        expected = len(pods)
    desired = max(0, desired)
    allowed = max(0, healthy - desired) if expected > 0 else 0
    new = {
        "type": "DisruptionAllowed",
        "status": "True" if allowed else "False",
        "reason": "SufficientPods" if allowed else "InsufficientPods",
        "message": "",
        "observedGeneration": generation_of(budget),
    }
    return {
        "observedGeneration": generation_of(budget),
        "expectedPods": expected,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "conditions": set_condition(conditions_of(budget), new),
    }
