"""The Deployment controller: carries out what `rollout` decides, and tells in the status how far it has come."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from binderops.errors import AlreadyExistsError, KubernetesError
from binderops.kube.kinds import DEPLOYMENT, POD, REPLICA_SET, Object
from binderops.kube.objects import (
    Key,
    annotations_of,
    condition,
    conditions_of,
    controller_of,
    is_deleting,
    labels_of,
    metadata_of,
    name_of,
    namespace_of,
    owner_reference,
    parse_timestamp,
    set_condition,
    spec_of,
    status_of,
    timestamp,
    uid_of,
)
from binderops.node.controllers import rollout
from binderops.node.controllers.machinery import Context, Controller, selector_of
from binderops.node.controllers.workloads import (
    claim,
    generation_of,
    in_namespace,
    replicas_of,
    template_hash,
)

_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    rollout.REVISION,
    rollout.DESIRED,
    rollout.MAXIMUM,
    "deprecated.deployment.rollback.to",
}


class DeploymentController(Controller):
    """Makes, scales and forgets ReplicaSets."""

    name = "deployment-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._deployments = self.watch(DEPLOYMENT)
        self._sets = context.informers.of(REPLICA_SET)
        self._owned = self.watch_owned(REPLICA_SET, self._deployments)
        self._pods = context.informers.owned(POD)
        # A Recreate rollout goes on when the last old pod is gone, which no ReplicaSet's change tells.
        context.informers.of(POD).subscribe(
            lambda event, pod, _old: self._pod_gone(pod) if event == "DELETED" else None
        )

    def _pod_gone(self, pod: Object) -> None:
        reference = controller_of(pod)
        if reference is None or reference.get("kind") != "ReplicaSet":
            return
        replica_set = self._sets.get(namespace_of(pod), str(reference["name"]))
        owner = controller_of(replica_set) if replica_set is not None else None
        if owner is not None and owner.get("kind") == "Deployment":
            self.queue.add((namespace_of(pod), str(owner["name"])))

    async def sync(self, key: Key) -> float | None:
        """One step of the rollout, then the status."""
        deployment = self._deployments.objects.get(key)
        if deployment is None:
            return None
        selector = selector_of(deployment)
        if not selector.requirements:
            await self.recorder.event(deployment, "SelectingAll", "its selector is empty: nothing is done", "Warning")
            return None
        sets = await claim(self.context, deployment, selector, in_namespace(self._sets.objects, key[0]))
        pods = [pod for rs in sets for pod in self._pods.get(uid_of(rs))]
        if not is_deleting(deployment):
            await self._step(deployment, sets, pods)
        sets = self._owned.get(uid_of(deployment))
        now = self.context.now()
        status = status_for(deployment, sets, now)
        await self.context.update_status(deployment, status)
        if rollout.is_complete(deployment, status) and not is_deleting(deployment):
            new = rollout.find_new(deployment, sets)
            for rs in rollout.to_forget(deployment, [rs for rs in sets if rs is not new]):
                await self.context.delete(rs)
        return seconds_to_deadline(deployment, status, now)

    async def _step(self, deployment: Object, sets: Sequence[Object], pods: Sequence[Object]) -> None:
        plan = rollout.plan_rollout(deployment, sets, pods)
        new = rollout.find_new(deployment, sets)
        if plan.create is not None:
            new = await self._create(deployment, sets, plan.create)
        for scale in plan.scales:
            await self._scale(deployment, scale)
        if new is not None and not spec_of(deployment).get("paused"):
            await self._keep_revision(deployment, new, sets)

    async def _create(self, deployment: Object, sets: Sequence[Object], replicas: int) -> Object:
        revision = max((rollout.revision_of(rs) for rs in sets), default=0) + 1
        collisions = int(status_of(deployment).get("collisionCount") or 0)
        replica_set = new_replica_set(deployment, replicas, revision, collisions)
        try:
            made = await self.context.create(replica_set)
        except AlreadyExistsError:
            taken = await self.client.get(REPLICA_SET, name_of(replica_set), namespace_of(deployment))
            if controller_of(taken) and (controller_of(taken) or {}).get("uid") == uid_of(deployment):
                self.context.informers.observe(taken)
                return taken
            await self.context.update_status(deployment, {"collisionCount": collisions + 1})
            raise
        except KubernetesError as error:
            message = f"Failed to create new replica set {name_of(replica_set)!r}: {error.what}"
            new = {"type": "Progressing", "status": "False", "reason": "ReplicaSetCreateError", "message": message}
            await self.context.update_status(deployment, {"conditions": _with(deployment, new, self.context.now())})
            await self.recorder.event(deployment, "ReplicaSetCreateError", message, "Warning")
            raise
        message = f"Scaled up replica set {name_of(made)} from 0 to {replicas}"
        await self.recorder.event(deployment, "ScalingReplicaSet", message)
        return made

    async def _scale(self, deployment: Object, scale: rollout.Scale) -> None:
        replica_set, before = scale.replica_set, replicas_of(scale.replica_set)
        annotations = _size_annotations(deployment)
        current = annotations_of(replica_set)
        if scale.replicas == before and all(current.get(key) == value for key, value in annotations.items()):
            return
        body = {
            "metadata": {"uid": uid_of(replica_set), "annotations": annotations},
            "spec": {"replicas": scale.replicas},
        }
        await self.context.patch(replica_set, body)
        if scale.replicas != before:
            direction = "up" if scale.replicas > before else "down"
            message = f"Scaled {direction} replica set {name_of(replica_set)} from {before} to {scale.replicas}"
            await self.recorder.event(deployment, "ScalingReplicaSet", message)

    async def _keep_revision(self, deployment: Object, new: Object, sets: Sequence[Object]) -> None:
        """The new ReplicaSet has the highest revision, also after a rollback; the Deployment carries the same."""
        highest = max((rollout.revision_of(rs) for rs in sets if uid_of(rs) != uid_of(new)), default=0)
        revision = str(max(rollout.revision_of(new), highest + 1))
        wanted = {**_copied_annotations(deployment), **_size_annotations(deployment), rollout.REVISION: revision}
        current = annotations_of(new)
        if any(current.get(key) != value for key, value in wanted.items()):
            await self.context.patch(new, {"metadata": {"uid": uid_of(new), "annotations": wanted}})
        if annotations_of(deployment).get(rollout.REVISION) != revision:
            body = {"metadata": {"uid": uid_of(deployment), "annotations": {rollout.REVISION: revision}}}
            # By the status' endpoint, as Kubernetes' controller does: it is no change of what is wanted (generation).
            await self.context.patch(deployment, body, subresource="status")


def new_replica_set(deployment: Object, replicas: int, revision: int, collisions: int = 0) -> Object:
    """The ReplicaSet for the Deployment's template."""
    template = copy.deepcopy(spec_of(deployment).get("template") or {})
    digest = template_hash(template, collisions)
    labels = {**labels_of(template), rollout.HASH_LABEL: digest}
    template["metadata"] = {**metadata_of(template), "labels": labels}
    selector = copy.deepcopy(spec_of(deployment).get("selector") or {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), rollout.HASH_LABEL: digest}
    annotations = {
        **_copied_annotations(deployment),
        **_size_annotations(deployment),
        rollout.REVISION: str(revision),
    }
    spec: Object = {"replicas": replicas, "selector": selector, "template": template}
    if spec_of(deployment).get("minReadySeconds"):
        spec["minReadySeconds"] = spec_of(deployment)["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{name_of(deployment)}-{digest}",
            "namespace": namespace_of(deployment),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": spec,
    }


def status_for(deployment: Object, sets: Sequence[Object], now: datetime) -> Object:
    """The status: counts over the ReplicaSets, and the conditions Available, Progressing and ReplicaFailure."""
    new = rollout.find_new(deployment, sets)
    total = replicas_of(deployment)
    available = _sum(sets, "availableReplicas")
    replicas = _sum(sets, "replicas")
    status: Object = {
        "observedGeneration": generation_of(deployment),
        "replicas": replicas,
        "updatedReplicas": _sum([new] if new is not None else [], "replicas"),
        "readyReplicas": _sum(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(map(replicas_of, sets)) - available),
    }
    enough = available >= total - rollout.bounds_of(deployment).unavailable
    conditions = set_condition(
        conditions_of(deployment),
        {
            "type": "Available",
            "status": "True" if enough else "False",
            "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            "message": f"Deployment {'has' if enough else 'does not have'} minimum availability.",
            "lastUpdateTime": timestamp(now),
        },
        now=now,
    )
    failures = [entry for rs in sets if (entry := condition(rs, "ReplicaFailure")) is not None]
    conditions = [entry for entry in conditions if entry["type"] != "ReplicaFailure"]
    if failures:
        conditions = set_condition(conditions, {**failures[0], "lastUpdateTime": timestamp(now)}, now=now)
    progress = _progress(deployment, new, status, now)
    if progress is not None:
        conditions = set_condition(conditions, progress, now=now)
    status["conditions"] = _settled(conditions_of(deployment), conditions)
    return status


def seconds_to_deadline(deployment: Object, status: Object, now: datetime) -> float | None:
    """How long the rollout may still stand still, or None when it is over, paused or has no deadline."""
    limit = _deadline(deployment)
    progress = condition({"status": status}, "Progressing")
    if limit is None or progress is None or progress.get("reason") in ("NewReplicaSetAvailable", _LATE):
        return None
    since = parse_timestamp(progress.get("lastUpdateTime") or timestamp(now))
    return max(0.1, limit - (now - since).total_seconds() + 0.1)


_LATE = "ProgressDeadlineExceeded"


def _progress(deployment: Object, new: Object | None, status: Object, now: datetime) -> Object | None:
    """The condition Progressing, or None to leave the one that is there."""
    old = condition(deployment, "Progressing")
    if spec_of(deployment).get("paused"):
        return _say("Unknown", "DeploymentPaused", "Deployment is paused", now) if old else None
    if _deadline(deployment) is None:
        return None
    subject = f'ReplicaSet "{name_of(new)}"' if new is not None else f'Deployment "{name_of(deployment)}"'
    if rollout.is_complete(deployment, status):
        return _say("True", "NewReplicaSetAvailable", f"{subject} has successfully progressed.", now)
    if old is None or old.get("reason") in ("DeploymentPaused", "NewReplicaSetAvailable"):
        reason = "NewReplicaSetCreated" if new is not None else "NewReplicaSetReason"
        return _say("True", reason, f"{subject} is progressing.", now)
    if _has_progressed(deployment, status):
        return _say("True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
    since = parse_timestamp(old.get("lastUpdateTime") or timestamp(now))
    if (now - since).total_seconds() >= (_deadline(deployment) or 0):
        return _say("False", _LATE, f"{subject} has timed out progressing.", now)
    return None


def _has_progressed(deployment: Object, status: Object) -> bool:
    old = status_of(deployment)
    new_generation = int(old.get("observedGeneration") or 0) < status["observedGeneration"]
    old_pods_before = int(old.get("replicas") or 0) - int(old.get("updatedReplicas") or 0)
    return new_generation or bool(
        status["updatedReplicas"] > int(old.get("updatedReplicas") or 0)
        or status["replicas"] - status["updatedReplicas"] < old_pods_before
        or status["readyReplicas"] > int(old.get("readyReplicas") or 0)
        or status["availableReplicas"] > int(old.get("availableReplicas") or 0)
    )


def _say(state: str, reason: str, message: str, now: datetime) -> Object:
    return {
        "type": "Progressing",
        "status": state,
        "reason": reason,
        "message": message,
        "lastUpdateTime": timestamp(now),
    }


def _settled(before: Sequence[Object], after: Sequence[Object]) -> list[Object]:
    """Keep a condition's lastUpdateTime where nothing but the time changed, unless it tells of progress."""
    kept = {entry.get("type"): entry for entry in before}
    result = []
    for entry in after:
        old = kept.get(entry["type"])
        same = old is not None and all(old.get(key) == entry.get(key) for key in ("status", "reason", "message"))
        moves = entry["type"] == "Progressing" and entry["reason"] == "ReplicaSetUpdated"
        result.append(dict(old) if old is not None and same and not moves else dict(entry))
    return result


def _with(deployment: Object, new: Object, now: datetime) -> list[Object]:
    return set_condition(conditions_of(deployment), {**new, "lastUpdateTime": timestamp(now)}, now=now)


def _deadline(deployment: Object) -> int | None:
    value = spec_of(deployment).get("progressDeadlineSeconds")
    value = 600 if value is None else int(value)
    return None if value >= 2**31 - 1 else value


def _size_annotations(deployment: Object) -> dict[str, str]:
    total = replicas_of(deployment)
    return {rollout.DESIRED: str(total), rollout.MAXIMUM: str(total + rollout.bounds_of(deployment).surge)}


def _copied_annotations(deployment: Object) -> dict[str, str]:
    return {key: value for key, value in annotations_of(deployment).items() if key not in _NOT_COPIED}


def _sum(sets: Sequence[Any], field: str) -> int:
    return sum(int(status_of(rs).get(field) or 0) for rs in sets)
