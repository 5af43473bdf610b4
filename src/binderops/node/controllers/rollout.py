"""How a Deployment moves from its old ReplicaSets to its new one: decisions only, no requests.

The arithmetic is that of Kubernetes' deployment controller (rolling.go, recreate.go, sync.go).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from binderops.kube.kinds import Object
from binderops.kube.objects import (
    annotations_of,
    is_deleting,
    labels_of,
    metadata_of,
    name_of,
    spec_of,
    status_of,
)
from binderops.node.controllers.workloads import created, generation_of, is_finished, replicas_of, scaled

REVISION = "deployment.kubernetes.io/revision"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
HASH_LABEL = "pod-template-hash"


class Scale(NamedTuple):
    """Set a ReplicaSet's `spec.replicas`."""

    replica_set: Object
    replicas: int


class Plan(NamedTuple):
    """What to do now: scale these, and whether a new ReplicaSet must be made first (with how many replicas)."""

    scales: list[Scale]
    create: int | None = None


class Bounds(NamedTuple):
    """How far a rollout may go above and below the number of replicas."""

    surge: int
    unavailable: int


def is_recreate(deployment: Object) -> bool:
    """Whether old pods must all be gone before new ones start."""
    return (spec_of(deployment).get("strategy") or {}).get("type") == "Recreate"


def bounds_of(deployment: Object) -> Bounds:
    """Spec's maxSurge (rounded up) and maxUnavailable (rounded down) as counts; never both zero."""
    if is_recreate(deployment):
        return Bounds(0, 0)
    rolling = (spec_of(deployment).get("strategy") or {}).get("rollingUpdate") or {}
    total = replicas_of(deployment)
    surge = scaled(rolling.get("maxSurge"), total, round_up=True, default="25%")
    unavailable = scaled(rolling.get("maxUnavailable"), total, round_up=False, default="25%")
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Bounds(surge, min(unavailable, total))


def find_new(deployment: Object, replica_sets: Sequence[Object]) -> Object | None:
    """The (oldest) ReplicaSet with the Deployment's template, whatever its hash label says."""
    wanted = _without_hash(spec_of(deployment).get("template") or {})
    matching = [rs for rs in replica_sets if _without_hash(spec_of(rs).get("template") or {}) == wanted]
    return min(matching, key=created, default=None)


def plan_rollout(deployment: Object, replica_sets: Sequence[Object], pods: Sequence[Object]) -> Plan:
    """The next step of a Deployment; `pods` are those of all its ReplicaSets."""
    new = find_new(deployment, replica_sets)
    old = [rs for rs in replica_sets if rs is not new]
    if spec_of(deployment).get("paused"):
        return Plan(plan_scale(deployment, new, old))
    if is_recreate(deployment):
        return _plan_recreate(deployment, new, old, pods)
    if new is not None and is_scaling(deployment, replica_sets):
        return Plan(plan_scale(deployment, new, old))
    if new is None:
        return Plan([], create=_new_replicas(deployment, None, old))
    want = _new_replicas(deployment, new, old)
    if want != replicas_of(new):
        return Plan([Scale(new, want)])
    return Plan(_scale_down_old(deployment, new, old))


def is_scaling(deployment: Object, replica_sets: Sequence[Object]) -> bool:
    """Whether the number of replicas was changed since the ReplicaSets were last written."""
    for replica_set in replica_sets:
        desired = annotations_of(replica_set).get(DESIRED)
        if replicas_of(replica_set) > 0 and desired is not None and desired != str(replicas_of(deployment)):
            return True
    return False


def plan_scale(deployment: Object, new: Object | None, old: Sequence[Object]) -> list[Scale]:
    """Follow a changed number of replicas without moving the rollout: in proportion to each ReplicaSet's share."""
    total = replicas_of(deployment)
    active = [rs for rs in [*old, *([new] if new is not None else [])] if replicas_of(rs) > 0]
    if len(active) <= 1:
        only = active[0] if active else (new or max(old, key=created, default=None))
        return [] if only is None else [Scale(only, total)]
    if new is not None and _is_saturated(deployment, new):
        return [Scale(rs, 0) for rs in old if replicas_of(rs) > 0]
    if is_recreate(deployment):
        return []
    allowed = total + bounds_of(deployment).surge if total > 0 else 0
    left = allowed - sum(map(replicas_of, active))
    # The larger ones take their share first, so that rounding leaves the rest to the smaller; the newest takes what is
    # left over.
    ordered = sorted(active, key=lambda rs: (-replicas_of(rs), created(rs)))
    sizes = {name_of(rs): replicas_of(rs) for rs in ordered}
    to_add = left
    for rs in ordered:
        share = _proportion(rs, total, allowed, to_add, left)
        sizes[name_of(rs)] += share
        left -= share
    if left:
        first = name_of(ordered[0])
        sizes[first] = max(0, sizes[first] + left)
    return [Scale(rs, sizes[name_of(rs)]) for rs in ordered]


def has_running_pods(pods: Sequence[Object], of: Sequence[Object]) -> bool:
    """Whether any of these ReplicaSets still has a pod that is not finished, one on its way out included."""
    uids = {metadata_of(rs).get("uid") for rs in of}
    return any(
        not is_finished(pod)
        and any(owner.get("uid") in uids for owner in metadata_of(pod).get("ownerReferences") or ())
        for pod in pods
    )


def is_complete(deployment: Object, status: Object) -> bool:
    """Whether a rollout has ended: all replicas new and available, no old ones left, this generation seen."""
    total = replicas_of(deployment)
    return bool(
        status["updatedReplicas"] == total
        and status["replicas"] == total
        and status["availableReplicas"] == total
        and status["observedGeneration"] >= generation_of(deployment)
    )


def to_forget(deployment: Object, old: Sequence[Object]) -> list[Object]:
    """Old, empty ReplicaSets beyond revisionHistoryLimit (10 unless set), the oldest revisions first."""
    limit = spec_of(deployment).get("revisionHistoryLimit")
    surplus = len(old) - (10 if limit is None else int(limit))
    if surplus <= 0:
        return []
    empty = [
        rs
        for rs in sorted(old, key=lambda rs: (revision_of(rs), created(rs)))[:surplus]
        if replicas_of(rs) == 0
        and not status_of(rs).get("replicas")
        and int(status_of(rs).get("observedGeneration") or 0) >= generation_of(rs)
        and not is_deleting(rs)
    ]
    return empty


def revision_of(obj: Object) -> int:
    """The revision annotation, 0 where there is none that can be read."""
    try:
        return int(annotations_of(obj).get(REVISION, "0"))
    except ValueError:
        return 0


def _plan_recreate(deployment: Object, new: Object | None, old: Sequence[Object], pods: Sequence[Object]) -> Plan:
    running = [rs for rs in old if replicas_of(rs) > 0]
    if running:
        return Plan([Scale(rs, 0) for rs in running])
    if has_running_pods(pods, old):
        return Plan([])
    if new is None:
        return Plan([], create=replicas_of(deployment))
    return Plan([Scale(new, replicas_of(deployment))] if replicas_of(new) != replicas_of(deployment) else [])


def _new_replicas(deployment: Object, new: Object | None, old: Sequence[Object]) -> int:
    total, current = replicas_of(deployment), replicas_of(new) if new is not None else 0
    if current >= total:
        return total
    allowed = total + bounds_of(deployment).surge
    pods = current + sum(map(replicas_of, old))
    if pods >= allowed:
        return current
    return current + min(allowed - pods, total - current)


def _scale_down_old(deployment: Object, new: Object, old: Sequence[Object]) -> list[Scale]:
    sizes = {name_of(rs): replicas_of(rs) for rs in old}
    minimum = replicas_of(deployment) - bounds_of(deployment).unavailable
    new_unavailable = replicas_of(new) - _available(new)
    room = sum(sizes.values()) + replicas_of(new) - minimum - new_unavailable
    if sum(sizes.values()) == 0 or room <= 0:
        return []
    ordered = sorted(old, key=created)
    for rs in ordered:  # pods that are not available are no loss: they go first
        unhealthy = min(room, max(0, sizes[name_of(rs)] - _available(rs)))
        sizes[name_of(rs)] -= unhealthy
        room -= unhealthy
    spare = _available(new) + sum(_available(rs) for rs in old) - minimum
    for rs in ordered:
        healthy = min(max(0, spare), sizes[name_of(rs)])
        sizes[name_of(rs)] -= healthy
        spare -= healthy
    return [Scale(rs, sizes[name_of(rs)]) for rs in ordered if sizes[name_of(rs)] != replicas_of(rs)]


def _available(replica_set: Object) -> int:
    return int(status_of(replica_set).get("availableReplicas") or 0)


def _is_saturated(deployment: Object, new: Object) -> bool:
    total = replicas_of(deployment)
    return replicas_of(new) == total and annotations_of(new).get(DESIRED) == str(total) and _available(new) == total


def _proportion(replica_set: Object, total: int, allowed: int, to_add: int, left: int) -> int:
    if to_add == 0 or left == 0:
        return 0
    try:
        base = int(annotations_of(replica_set)[MAXIMUM]) or total
    except (KeyError, ValueError):
        base = int(status_of(replica_set).get("replicas") or total) or total
    fraction = round(replicas_of(replica_set) * allowed / base) - replicas_of(replica_set)
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _without_hash(template: Object) -> dict[str, Any]:
    labels = {key: value for key, value in labels_of(template).items() if key != HASH_LABEL}
    metadata = {key: value for key, value in metadata_of(template).items() if value and key != "labels"}
    return {**template, "metadata": {**metadata, "labels": labels}}
