"""Kinds that the API stores and nothing acts on: an Event tells each object so, and a condition where it has any."""

from __future__ import annotations

from typing import ClassVar

from binderops.errors import ConflictError, NotFoundError
from binderops.kube.kinds import HORIZONTAL_POD_AUTOSCALER, LIMIT_RANGE, RESOURCE_QUOTA, Kind, Object
from binderops.kube.objects import Key, conditions_of, key_of, name_of, namespace_of, set_condition
from binderops.node.controllers.machinery import Context, Controller


class UnenforcedController(Controller):
    """Says of each object of one kind that it has no effect here."""

    workers = 1
    kind: ClassVar[Kind]
    message: ClassVar[str]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._objects = context.informers.of(self.kind)
        self._objects.subscribe(lambda event, obj, _old: self.queue.add(key_of(obj)) if event == "ADDED" else None)

    async def sync(self, key: Key) -> float | None:
        """Record the Event."""
        obj = self._objects.objects.get(key)
        if obj is not None:
            await self.tell(obj)
        return None

    async def tell(self, obj: Object) -> None:
        """Say it of one object."""
        await self.recorder.event(obj, "Unsupported", self.message, "Warning")


class ResourceQuotaController(UnenforcedController):
    """ResourceQuotas."""

    name = "resourcequota-controller"
    kind = RESOURCE_QUOTA
    message = "this node does not enforce ResourceQuotas"


class LimitRangeController(UnenforcedController):
    """LimitRanges."""

    name = "limitrange-controller"
    kind = LIMIT_RANGE
    message = "this node does not enforce LimitRanges: containers get the resources that their pods name"


class AutoscalerController(UnenforcedController):
    """HorizontalPodAutoscalers, whose condition ScalingActive is False."""

    name = "horizontal-pod-autoscaler"
    kind = HORIZONTAL_POD_AUTOSCALER
    message = "this node does not act on HorizontalPodAutoscalers: set replicas"

    async def tell(self, obj: Object) -> None:
        """Record the Event and the condition."""
        entry = {"type": "ScalingActive", "status": "False", "reason": "Unsupported", "message": self.message}
        conditions = set_condition(conditions_of(obj), entry)
        counts = {"currentReplicas": 0, "desiredReplicas": 0}
        status = {**counts, **(obj.get("status") or {}), "conditions": conditions}
        try:
            await self.client.patch(
                self.kind, name_of(obj), namespace_of(obj), {"status": status}, how="merge", subresource="status"
            )
        except (NotFoundError, ConflictError):
            return  # gone
        await super().tell(obj)
