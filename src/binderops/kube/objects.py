"""Small helpers for objects as plain dicts: names, labels, owners, conditions, times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from binderops.kube.kinds import Object

Key = tuple[str, str]
"""(namespace, name); the namespace is "" where the kind has none."""


def metadata_of(obj: Mapping[str, Any]) -> Object:
    """The `metadata`, or an empty one."""
    return obj.get("metadata") or {}


def name_of(obj: Mapping[str, Any]) -> str:
    """`metadata.name`, or ""."""
    return str(metadata_of(obj).get("name") or "")


def namespace_of(obj: Mapping[str, Any]) -> str:
    """`metadata.namespace`, or "" for an object that lies in none."""
    return str(metadata_of(obj).get("namespace") or "")


def uid_of(obj: Mapping[str, Any]) -> str:
    """`metadata.uid`, or ""."""
    return str(metadata_of(obj).get("uid") or "")


def key_of(obj: Mapping[str, Any]) -> Key:
    """(namespace, name)."""
    return namespace_of(obj), name_of(obj)


def labels_of(obj: Mapping[str, Any]) -> dict[str, str]:
    """`metadata.labels`, or an empty dict."""
    return metadata_of(obj).get("labels") or {}


def annotations_of(obj: Mapping[str, Any]) -> dict[str, str]:
    """`metadata.annotations`, or an empty dict."""
    return metadata_of(obj).get("annotations") or {}


def is_deleting(obj: Mapping[str, Any]) -> bool:
    """Whether the API has marked the object as on its way out (`deletionTimestamp`)."""
    return bool(metadata_of(obj).get("deletionTimestamp"))


def without_version(obj: Mapping[str, Any]) -> Object:
    """The object but for `metadata.resourceVersion`: equal for two that differ in nothing else."""
    return {**obj, "metadata": {key: value for key, value in metadata_of(obj).items() if key != "resourceVersion"}}


def spec_of(obj: Mapping[str, Any]) -> Object:
    """The `spec`, or an empty one."""
    return obj.get("spec") or {}


def status_of(obj: Mapping[str, Any]) -> Object:
    """The `status`, or an empty one."""
    return obj.get("status") or {}


# --- owners -----------------------------------------------------------------------------------------------------------


def owners_of(obj: Mapping[str, Any]) -> list[Object]:
    """`metadata.ownerReferences`."""
    return metadata_of(obj).get("ownerReferences") or []


def controller_of(obj: Mapping[str, Any]) -> Object | None:
    """The one owner reference that is marked `controller`, if any."""
    return next((owner for owner in owners_of(obj) if owner.get("controller")), None)


def is_controlled_by(obj: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """Whether `owner` (by uid) is the object's controller."""
    reference = controller_of(obj)
    return reference is not None and reference.get("uid") == uid_of(owner) != ""


def owner_reference(owner: Mapping[str, Any], *, controller: bool = True) -> Object:
    """A reference to `owner`, as a controller writes it into what it makes."""
    reference: Object = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
    }
    if controller:
        reference |= {"controller": True, "blockOwnerDeletion": True}
    return reference


# --- conditions -------------------------------------------------------------------------------------------------------


def conditions_of(obj: Mapping[str, Any]) -> list[Object]:
    """`status.conditions`."""
    return status_of(obj).get("conditions") or []


def condition(obj: Mapping[str, Any], kind: str) -> Object | None:
    """The condition of that type, if any."""
    return next((entry for entry in conditions_of(obj) if entry.get("type") == kind), None)


def is_condition_true(obj: Mapping[str, Any], kind: str) -> bool:
    """Whether the condition of that type stands at "True"."""
    entry = condition(obj, kind)
    return entry is not None and entry.get("status") == "True"


def set_condition(
    conditions: Iterable[Mapping[str, Any]], new: Mapping[str, Any], *, now: datetime | None = None
) -> list[Object]:
    """The conditions with `new` in place of the one of its type; `lastTransitionTime` moves only with `status`."""
    result = [dict(entry) for entry in conditions]
    entry = dict(new)
    position = next((i for i, old in enumerate(result) if old.get("type") == entry["type"]), None)
    old = result[position] if position is not None else None
    if old is not None and old.get("status") == entry.get("status") and old.get("lastTransitionTime"):
        entry["lastTransitionTime"] = old["lastTransitionTime"]
    else:
        entry.setdefault("lastTransitionTime", timestamp(now))
    if position is None:
        result.append(entry)
    else:
        result[position] = entry
    return result


def is_pod_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod's condition Ready is true and it is not on its way out."""
    return is_condition_true(pod, "Ready") and not is_deleting(pod)


# --- times ------------------------------------------------------------------------------------------------------------


def timestamp(moment: datetime | None = None) -> str:
    """A moment (now, unless given) as `metav1.Time` has it: UTC, whole seconds, `Z`."""
    return (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(moment: datetime | None = None) -> str:
    """A moment (now, unless given) as `metav1.MicroTime` has it: UTC, microseconds, `Z`."""
    return (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> datetime:
    """A moment from RFC 3339 text; ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time without its zone: {text!r}")
    return moment.astimezone(UTC)
