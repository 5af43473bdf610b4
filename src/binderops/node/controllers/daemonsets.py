"""The DaemonSet controller: one pod on the node, if it is one that the DaemonSet wants."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from binderops.kube.kinds import CONTROLLER_REVISION, DAEMON_SET, NODE, POD, Object
from binderops.kube.objects import Key, is_deleting, labels_of, name_of, spec_of, status_of, uid_of
from binderops.kube.placement import unmet
from binderops.node.controllers import history
from binderops.node.controllers.machinery import Context, Controller, selector_of
from binderops.node.controllers.workloads import (
    claim,
    created,
    earliest,
    generation_of,
    in_namespace,
    is_finished,
    is_ready,
    pod_from_template,
    seconds_until_available,
    seconds_until_replaced,
)


class DaemonSetController(Controller):
    """Keeps one pod a DaemonSet. An update removes the old pod first: maxSurge has no effect with one node."""

    name = "daemonset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sets = self.watch(DAEMON_SET)
        self._pods = context.informers.of(POD)
        self._owned = self.watch_owned(POD, self._sets)
        self._revisions = context.informers.owned(CONTROLLER_REVISION)
        self._nodes = context.informers.of(NODE)
        self._nodes.subscribe(self._node_changed)

    def _node_changed(self, event: str, new: Object, old: Object | None) -> None:
        # A node's status changes with each heartbeat; whether a pod belongs on it depends on these alone.
        if event != "MODIFIED" or old is None or labels_of(old) != labels_of(new) or spec_of(old) != spec_of(new):
            for key in self._sets.objects:
                self.queue.add(key)

    async def sync(self, key: Key) -> float | None:
        """One step, then the status."""
        daemon_set = self._sets.objects.get(key)
        if daemon_set is None or is_deleting(daemon_set):
            return None
        selector = selector_of(daemon_set)
        pods = await claim(self.context, daemon_set, selector, in_namespace(self._pods.objects, key[0]))
        revisions = self._revisions.get(uid_of(daemon_set))
        current = await history.current_revision(self.context, daemon_set, revisions)
        digest = history.hash_of(current)
        wanted = any(fits(daemon_set, node) for node in self._nodes.objects.values())
        now = self.context.now()
        going = to_delete(daemon_set, pods, wanted, digest)
        too_soon = [pod for pod in going if seconds_until_replaced(pod, now) > 0]
        for pod in [pod for pod in going if pod not in too_soon]:
            await self.context.delete(pod)
            await self.recorder.event(daemon_set, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        # A pod that is on its way out still holds its ports and folders: the next one waits for its end.
        if wanted and not self._owned.get(uid_of(daemon_set)):
            labels = {history.HASH_LABEL: digest, "pod-template-generation": str(generation_of(daemon_set))}
            template = spec_of(daemon_set).get("template") or {}
            made = await self.context.create(pod_from_template(daemon_set, template, labels=labels))
            await self.recorder.event(daemon_set, "SuccessfulCreate", f"Created pod: {name_of(made)}")
        pods = self._owned.get(uid_of(daemon_set))
        await self.context.update_status(daemon_set, status_for(daemon_set, pods, wanted, digest, now))
        hashes = {labels_of(pod).get(history.HASH_LABEL) for pod in pods}
        in_use = {name_of(entry) for entry in revisions if history.hash_of(entry) in hashes} | {name_of(current)}
        await history.forget(self.context, daemon_set, revisions, in_use)
        minimum = int(spec_of(daemon_set).get("minReadySeconds") or 0)
        delays = [seconds_until_available(pod, minimum, now) for pod in pods]
        return earliest([*delays, *(seconds_until_replaced(pod, now) for pod in too_soon)])


def fits(daemon_set: Object, node: Object) -> bool:
    """Whether the template's selectors and tolerations admit the node (a node out of use does not matter)."""
    spec = spec_of(spec_of(daemon_set).get("template") or {})
    if unmet(spec, node):
        return False
    taints = [
        taint for taint in spec_of(node).get("taints") or [] if taint.get("effect") in ("NoSchedule", "NoExecute")
    ]
    taints = [taint for taint in taints if not str(taint.get("key", "")).startswith("node.kubernetes.io/")]
    return all(any(_tolerates(toleration, taint) for toleration in spec.get("tolerations") or ()) for taint in taints)


def to_delete(daemon_set: Object, pods: Sequence[Object], wanted: bool, digest: str) -> list[Object]:
    """Pods that must go: where none is wanted, finished ones, second ones, and those of an old template."""
    living = sorted((pod for pod in pods if not is_deleting(pod)), key=created)
    rolling = (spec_of(daemon_set).get("updateStrategy") or {}).get("type") != "OnDelete"
    keep: Object | None = None
    for pod in living:
        is_old = labels_of(pod).get(history.HASH_LABEL) != digest
        if wanted and keep is None and not is_finished(pod) and not (rolling and is_old):
            keep = pod
    return [pod for pod in living if pod is not keep]


def status_for(daemon_set: Object, pods: Sequence[Object], wanted: bool, digest: str, now: datetime) -> Object:
    """The status that these pods give."""
    minimum = int(spec_of(daemon_set).get("minReadySeconds") or 0)
    living = [pod for pod in pods if not is_deleting(pod) and not is_finished(pod)]
    available = sum(seconds_until_available(pod, minimum, now) == 0 for pod in living)
    desired = int(wanted)
    return {
        "observedGeneration": generation_of(daemon_set),
        "desiredNumberScheduled": desired,
        "currentNumberScheduled": min(desired, len(living)),
        "numberMisscheduled": len(living) if not wanted else 0,
        "numberReady": sum(is_ready(pod) for pod in living),
        "numberAvailable": available,
        "numberUnavailable": max(0, desired - available),
        "updatedNumberScheduled": sum(labels_of(pod).get(history.HASH_LABEL) == digest for pod in living),
        "collisionCount": int(status_of(daemon_set).get("collisionCount") or 0),
    }


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("operator") == "Exists":
        return not toleration.get("key") or toleration["key"] == taint.get("key")
    return toleration.get("key") == taint.get("key") and (toleration.get("value") or "") == (taint.get("value") or "")
