"""Pod garbage: pods of a node that is gone, and the oldest finished ones when there are too many."""

from __future__ import annotations

from binderops.kube.kinds import NODE, POD, Object
from binderops.kube.objects import Key, is_deleting, key_of, spec_of
from binderops.node.controllers.machinery import Context, Controller
from binderops.node.controllers.workloads import created, is_finished

FINISHED_PODS = 1000
"""How many finished pods stay (kube-controller-manager's --terminated-pod-gc-threshold)."""
QUARANTINE_SECONDS = 40.0
"""How long a node may be missing before its pods are taken for lost, as in Kubernetes."""


class PodGarbageController(Controller):
    """One key a pod."""

    name = "pod-garbage-collector"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nodes = context.informers.of(NODE)
        self._nodes.subscribe(self._node_changed)
        self._pods = context.informers.of(POD)
        self._pods.subscribe(self._pod_changed)
        self._finished: set[Key] = set()
        self._missing_since: dict[Key, float] = {}

    def _node_changed(self, event: str, _new: Object, _old: Object | None) -> None:
        if event == "DELETED":
            for key in self._pods.objects:
                self.queue.add(key)

    def _pod_changed(self, event: str, new: Object, old: Object | None) -> None:
        key = key_of(new)
        if event == "DELETED":
            self._finished.discard(key)
            self._missing_since.pop(key, None)
        elif is_finished(new):
            if key not in self._finished:
                self._finished.add(key)
                self.queue.add(key)
        elif old is None or spec_of(old).get("nodeName") != spec_of(new).get("nodeName") or is_deleting(new):
            self.queue.add(key)

    async def sync(self, key: Key) -> float | None:
        """Remove one pod, if it is garbage, or finished ones that are older."""
        pod = self._pods.objects.get(key)
        if pod is None:
            return None
        if len(self._finished) > FINISHED_PODS:
            finished = [self._pods.objects[k] for k in self._finished if k in self._pods.objects]
            for old in sorted(finished, key=created)[: len(finished) - FINISHED_PODS]:
                await self.context.delete(old, grace_seconds=0)
        node = spec_of(pod).get("nodeName")
        if not node:
            if is_deleting(pod):
                await self.context.delete(pod, grace_seconds=0)
            return None
        if self._nodes.get("", node) is not None:
            self._missing_since.pop(key, None)
            return None
        now = self.context.now().timestamp()
        left = self._missing_since.setdefault(key, now) + QUARANTINE_SECONDS - now
        if left > 0:
            return left + 0.1
        await self.context.delete(pod, grace_seconds=0)
        return None
