"""What workload controllers share: pods from templates, which pods count, claiming by selector, hashes, percentages."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from binderops.kube.kinds import Object
from binderops.kube.objects import (
    condition,
    controller_of,
    is_deleting,
    labels_of,
    metadata_of,
    name_of,
    namespace_of,
    owner_reference,
    parse_timestamp,
    spec_of,
    status_of,
    uid_of,
)
from binderops.kube.selectors import LabelSelector
from binderops.node.controllers.machinery import Context

_HASH_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # without vowels, so that no hash reads as a word, as in Kubernetes

REPLACEMENT_SECONDS = 10.0


class Claims(NamedTuple):
    """Candidates sorted by what their owner has to do with them."""

    owned: list[Object]
    adopt: list[Object]
    release: list[Object]


def sort_claims(owner: Object, selector: LabelSelector, candidates: Iterable[Object]) -> Claims:
    """Which of the objects are the owner's own, are orphans that it adopts, or no longer match and are released."""
    claims = Claims([], [], [])
    for obj in candidates:
        controller = controller_of(obj)
        matches = selector.matches(labels_of(obj))
        if controller is not None and controller.get("uid") == uid_of(owner):
            (claims.owned if matches or is_deleting(owner) else claims.release).append(obj)
        elif controller is None and matches and not is_deleting(obj) and not is_deleting(owner):
            claims.adopt.append(obj)
    return claims


async def claim(context: Context, owner: Object, selector: LabelSelector, candidates: Iterable[Object]) -> list[Object]:
    """Adopt orphans, release what no longer matches, and return what is the owner's."""
    claims = sort_claims(owner, selector, candidates)
    for obj in claims.adopt:
        references = [*(metadata_of(obj).get("ownerReferences") or []), owner_reference(owner)]
        body = {"metadata": {"uid": uid_of(obj), "ownerReferences": references}}
        claims.owned.append(await context.patch(obj, body))
    for obj in claims.release:
        references = [o for o in metadata_of(obj).get("ownerReferences") or [] if o.get("uid") != uid_of(owner)]
        await context.patch(obj, {"metadata": {"uid": uid_of(obj), "ownerReferences": references or None}})
    return claims.owned


def pod_from_template(
    owner: Object,
    template: Mapping[str, Any],
    *,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """A pod of `owner` by a pod template, named `name` or by the API from the owner's name."""
    metadata = template.get("metadata") or {}
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": namespace_of(owner),
            "labels": {**(metadata.get("labels") or {}), **(labels or {})},
            "annotations": {**(metadata.get("annotations") or {}), **(annotations or {})},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": copy.deepcopy(template.get("spec") or {}),
    }
    if metadata.get("finalizers"):
        pod["metadata"]["finalizers"] = list(metadata["finalizers"])
    if name:
        pod["metadata"]["name"] = name
    else:
        pod["metadata"]["generateName"] = f"{name_of(owner)[:57]}-"
    return pod


def is_finished(pod: Mapping[str, Any]) -> bool:
    """Whether every container of the pod has ended for good."""
    return status_of(pod).get("phase") in ("Succeeded", "Failed")


def is_active(pod: Mapping[str, Any]) -> bool:
    """Whether a pod counts as a replica: neither finished nor on its way out."""
    return not is_finished(pod) and not is_deleting(pod)


def ready_since(pod: Mapping[str, Any]) -> datetime | None:
    """Since when the pod's condition Ready is true, or None."""
    ready = condition(pod, "Ready")
    if ready is None or ready.get("status") != "True":
        return None
    text = ready.get("lastTransitionTime") or metadata_of(pod).get("creationTimestamp")
    return parse_timestamp(text) if text else None


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's condition Ready is true."""
    entry = condition(pod, "Ready")
    return entry is not None and entry.get("status") == "True"


def seconds_until_available(pod: Mapping[str, Any], min_ready_seconds: int, now: datetime) -> float | None:
    """0 if the pod has been ready for `min_ready_seconds`, the seconds that lack, or None if it is not ready."""
    if not is_ready(pod):
        return None
    since = ready_since(pod)
    if min_ready_seconds <= 0 or since is None:
        return 0.0
    return max(0.0, min_ready_seconds - (now - since).total_seconds())


def seconds_until_replaced(pod: Mapping[str, Any], now: datetime) -> float:
    """How long a finished pod must stay, so that one that fails at once is not made again in a busy loop; 0 else."""
    if not is_finished(pod):
        return 0.0
    age = (now - parse_timestamp(metadata_of(pod)["creationTimestamp"])).total_seconds()
    return max(0.0, REPLACEMENT_SECONDS - age)


def earliest(delays: Iterable[float | None]) -> float | None:
    """The shortest delay that is not None and not over."""
    return min((delay for delay in delays if delay), default=None)


def template_hash(template: Mapping[str, Any], collisions: int = 0) -> str:
    """A short name for a pod template; `collisions` makes another one of the same template."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":")) + (f"#{collisions}" if collisions else "")
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    letters = []
    for _ in range(10):
        number, rest = divmod(number, len(_HASH_ALPHABET))
        letters.append(_HASH_ALPHABET[rest])
    return "".join(letters)


def scaled(value: int | str | None, total: int, *, round_up: bool, default: int | str) -> int:
    """An IntOrString: a count, or a percentage of `total`. ValueError for anything else."""
    value = default if value is None else value
    if isinstance(value, int):
        return value
    if value.endswith("%"):
        share = int(value[:-1]) * total / 100
        return math.ceil(share) if round_up else math.floor(share)
    return int(value)


def replicas_of(workload: Mapping[str, Any]) -> int:
    """`spec.replicas`, 1 where it is not set."""
    value = spec_of(workload).get("replicas")
    return 1 if value is None else int(value)


def generation_of(obj: Mapping[str, Any]) -> int:
    """`metadata.generation`."""
    return int(metadata_of(obj).get("generation") or 0)


def created(obj: Mapping[str, Any]) -> str:
    """When the object was made, as text that sorts by time; with the name, so that an order is total."""
    return f"{metadata_of(obj).get('creationTimestamp') or ''} {name_of(obj)}"


def in_namespace(objects: Mapping[tuple[str, str], Object], namespace: str) -> list[Object]:
    """The objects that lie in one namespace."""
    return [obj for (place, _), obj in objects.items() if place == namespace]
