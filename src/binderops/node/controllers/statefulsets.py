"""The StatefulSet controller: pods with ordinals and claims of their own, made, updated and removed in order."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from binderops.errors import AlreadyExistsError
from binderops.kube.kinds import CONTROLLER_REVISION, PERSISTENT_VOLUME_CLAIM, POD, STATEFUL_SET, Object
from binderops.kube.objects import (
    Key,
    is_deleting,
    labels_of,
    metadata_of,
    name_of,
    namespace_of,
    owner_reference,
    owners_of,
    spec_of,
    status_of,
    uid_of,
)
from binderops.node.controllers import history
from binderops.node.controllers.machinery import Context, Controller, selector_of
from binderops.node.controllers.workloads import (
    claim,
    earliest,
    generation_of,
    in_namespace,
    is_finished,
    is_ready,
    pod_from_template,
    replicas_of,
    seconds_until_available,
    seconds_until_replaced,
)

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"


class Step(NamedTuple):
    """What to do now: ordinals to create (by the new revision or the old one), and pods to delete."""

    create: list[tuple[int, bool]]
    delete: list[Object]


class StatefulSetController(Controller):
    """Keeps each StatefulSet's pods and claims."""

    name = "statefulset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sets = self.watch(STATEFUL_SET)
        self._pods = context.informers.of(POD)
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIM)
        self._owned = self.watch_owned(POD, self._sets)
        self._revisions = context.informers.owned(CONTROLLER_REVISION)

    async def sync(self, key: Key) -> float | None:
        """One step, then the status."""
        stateful_set = self._sets.objects.get(key)
        if stateful_set is None or is_deleting(stateful_set):
            return None
        candidates = [pod for pod in in_namespace(self._pods.objects, key[0]) if _is_member(stateful_set, pod)]
        pods = await claim(self.context, stateful_set, selector_of(stateful_set), candidates)
        revisions = self._revisions.get(uid_of(stateful_set))
        update = await history.current_revision(self.context, stateful_set, revisions)
        current_name = status_of(stateful_set).get("currentRevision") or name_of(update)
        current = next((entry for entry in revisions if name_of(entry) == current_name), update)
        now = self.context.now()
        step = plan_step(stateful_set, pods, history.hash_of(update), now)
        for ordinal, is_new in step.create:
            await self._create(stateful_set, ordinal, update if is_new else current)
        too_soon = [pod for pod in step.delete if seconds_until_replaced(pod, now) > 0]
        for pod in [pod for pod in step.delete if pod not in too_soon]:
            await self.context.delete(pod)
            message = f"delete Pod {name_of(pod)} in StatefulSet {key[1]} successful"
            await self.recorder.event(stateful_set, "SuccessfulDelete", message)
        pods = self._owned.get(uid_of(stateful_set))
        await self._retain(stateful_set, pods)
        status = status_for(stateful_set, pods, current, update, now)
        await self.context.update_status(stateful_set, status)
        in_use = {status["currentRevision"], status["updateRevision"]}
        hashes = {labels_of(pod).get(history.HASH_LABEL) for pod in pods}
        in_use |= {name_of(entry) for entry in revisions if history.hash_of(entry) in hashes}
        await history.forget(self.context, stateful_set, revisions, in_use)
        minimum = int(spec_of(stateful_set).get("minReadySeconds") or 0)
        delays = [seconds_until_available(pod, minimum, now) for pod in pods]
        return earliest([*delays, *(seconds_until_replaced(pod, now) for pod in too_soon)])

    async def _retain(self, stateful_set: Object, pods: Sequence[Object]) -> None:
        """Carry out persistentVolumeClaimRetentionPolicy on the claims that there are."""
        namespace = namespace_of(stateful_set)
        present = {ordinal_of(pod) for pod in pods}
        for (place, name), volume_claim in list(self._claims.objects.items()):
            ordinal = claim_ordinal(stateful_set, name) if place == namespace else None
            if ordinal is None or is_deleting(volume_claim):
                continue
            if (
                ordinal not in ordinals(stateful_set)
                and ordinal not in present
                and _retention(stateful_set, "whenScaled")
            ):
                await self.context.delete(volume_claim)
                continue
            owners = owners_for(stateful_set, volume_claim)
            if owners != owners_of(volume_claim):
                body = {"metadata": {"uid": uid_of(volume_claim), "ownerReferences": owners or None}}
                await self.context.patch(volume_claim, body)

    async def _create(self, stateful_set: Object, ordinal: int, revision: Object) -> None:
        for volume_claim in claims_for(stateful_set, ordinal):
            if self._claims.get(namespace_of(stateful_set), name_of(volume_claim)) is None:
                try:
                    await self.context.create(volume_claim)
                except AlreadyExistsError:
                    continue
        pod = pod_for(stateful_set, ordinal, revision)
        await self.context.create(pod)
        message = f"create Pod {name_of(pod)} in StatefulSet {name_of(stateful_set)} successful"
        await self.recorder.event(stateful_set, "SuccessfulCreate", message)


def plan_step(stateful_set: Object, pods: Sequence[Object], update_hash: str, now: datetime) -> Step:
    """The next step, by the rules of Kubernetes' `defaultStatefulSetControl.updateStatefulSet`."""
    spec = spec_of(stateful_set)
    wanted = ordinals(stateful_set)
    by_ordinal = {ordinal_of(pod): pod for pod in pods}
    parallel = spec.get("podManagementPolicy") == "Parallel"
    strategy = spec.get("updateStrategy") or {}
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    minimum = int(spec.get("minReadySeconds") or 0)
    step = Step([], [])

    for ordinal in wanted:
        pod = by_ordinal.get(ordinal)
        if pod is None:
            step.create.append((ordinal, ordinal >= partition or strategy.get("type") == "OnDelete"))
        elif is_finished(pod) and not is_deleting(pod):
            step.delete.append(pod)
        if not parallel and (pod is None or not _is_well(pod, minimum, now)):
            return step
    surplus = sorted((o for o in by_ordinal if o not in wanted), reverse=True)
    for ordinal in surplus:
        pod = by_ordinal[ordinal]
        if not is_deleting(pod):
            step.delete.append(pod)
        if not parallel:
            return step
    if strategy.get("type") == "OnDelete" or step.create or step.delete:
        return step
    for ordinal in sorted((o for o in wanted if o >= partition), reverse=True):
        pod = by_ordinal[ordinal]
        if labels_of(pod).get(history.HASH_LABEL) != update_hash:
            if not is_deleting(pod):
                step.delete.append(pod)
            return step
        if not _is_well(pod, minimum, now):
            return step
    return step


def pod_for(stateful_set: Object, ordinal: int, revision: Object) -> Object:
    """The pod with this ordinal, by the template that a revision keeps."""
    template = copy.deepcopy((revision.get("data") or {}).get("spec", {}).get("template") or {})
    template.pop("$patch", None)
    name = f"{name_of(stateful_set)}-{ordinal}"
    labels = {POD_NAME_LABEL: name, INDEX_LABEL: str(ordinal), history.HASH_LABEL: history.hash_of(revision)}
    pod = pod_from_template(stateful_set, template, name=name, labels=labels)
    pod["spec"]["hostname"] = name
    if spec_of(stateful_set).get("serviceName"):
        pod["spec"]["subdomain"] = spec_of(stateful_set)["serviceName"]
    claims = {
        name_of(entry): name_of(made)
        for entry, made in zip(_templates(stateful_set), claims_for(stateful_set, ordinal), strict=True)
    }
    volumes = [volume for volume in pod["spec"].get("volumes") or [] if volume.get("name") not in claims]
    volumes += [{"name": name, "persistentVolumeClaim": {"claimName": made}} for name, made in claims.items()]
    if volumes:
        pod["spec"]["volumes"] = volumes
    return pod


def claims_for(stateful_set: Object, ordinal: int) -> list[Object]:
    """The claims of one ordinal; they outlive it, so that its data is found again."""
    labels = (spec_of(stateful_set).get("selector") or {}).get("matchLabels") or {}
    claims = []
    for template in _templates(stateful_set):
        entry = copy.deepcopy(template)
        entry.pop("status", None)
        entry |= {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        metadata = entry.setdefault("metadata", {})
        metadata["name"] = f"{name_of(template)}-{name_of(stateful_set)}-{ordinal}"
        metadata["namespace"] = namespace_of(stateful_set)
        metadata["labels"] = {**labels_of(template), **labels}
        claims.append(entry)
    return claims


def claim_ordinal(stateful_set: Object, name: str) -> int | None:
    """The ordinal of a claim of this StatefulSet, by its name; None for any other claim."""
    for template in _templates(stateful_set):
        match = re.fullmatch(rf"{re.escape(name_of(template))}-{re.escape(name_of(stateful_set))}-(\d+)", name)
        if match:
            return int(match.group(1))
    return None


def owners_for(stateful_set: Object, volume_claim: Object) -> list[Object]:
    """A claim's owner references: the StatefulSet among them if its claims go with it (whenDeleted)."""
    others = [owner for owner in owners_of(volume_claim) if owner.get("uid") != uid_of(stateful_set)]
    mine = [owner_reference(stateful_set, controller=False)] if _retention(stateful_set, "whenDeleted") else []
    return others + mine


def ordinals(stateful_set: Object) -> range:
    """The ordinals that the StatefulSet asks for."""
    first = int((spec_of(stateful_set).get("ordinals") or {}).get("start") or 0)
    return range(first, first + replicas_of(stateful_set))


def ordinal_of(pod: Mapping[str, object]) -> int:
    """The number at the end of the pod's name, -1 if there is none."""
    match = re.search(r"-(\d+)$", name_of(pod))
    return int(match.group(1)) if match else -1


def status_for(stateful_set: Object, pods: Sequence[Object], current: Object, update: Object, now: datetime) -> Object:
    """The status that these pods give; the update becomes the current revision once every pod has it and is ready."""
    minimum = int(spec_of(stateful_set).get("minReadySeconds") or 0)
    of_update = [pod for pod in pods if labels_of(pod).get(history.HASH_LABEL) == history.hash_of(update)]
    ready = [pod for pod in pods if is_ready(pod) and not is_deleting(pod)]
    total = replicas_of(stateful_set)
    strategy = spec_of(stateful_set).get("updateStrategy") or {}
    done = len(of_update) == len(pods) == len(ready) == total and strategy.get("type") != "OnDelete"
    if done:
        current = update
    of_current = [pod for pod in pods if labels_of(pod).get(history.HASH_LABEL) == history.hash_of(current)]
    return {
        "observedGeneration": generation_of(stateful_set),
        "replicas": len(pods),
        "readyReplicas": len(ready),
        "availableReplicas": sum(seconds_until_available(pod, minimum, now) == 0 for pod in ready),
        "currentReplicas": len(of_current),
        "updatedReplicas": len(of_update),
        "currentRevision": name_of(current),
        "updateRevision": name_of(update),
        "collisionCount": int(status_of(stateful_set).get("collisionCount") or 0),
    }


def _is_member(stateful_set: Object, pod: Object) -> bool:
    return re.fullmatch(rf"{re.escape(name_of(stateful_set))}-\d+", name_of(pod)) is not None


def _is_well(pod: Object, minimum: int, now: datetime) -> bool:
    return not is_deleting(pod) and seconds_until_available(pod, minimum, now) == 0


def _retention(stateful_set: Object, when: str) -> bool:
    """Whether claims are deleted `whenDeleted` or `whenScaled`; they are retained unless the policy says so."""
    return (spec_of(stateful_set).get("persistentVolumeClaimRetentionPolicy") or {}).get(when) == "Delete"


def _templates(stateful_set: Object) -> list[Object]:
    return [entry for entry in spec_of(stateful_set).get("volumeClaimTemplates") or [] if metadata_of(entry)]
