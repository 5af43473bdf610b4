"""What the printers of tables share: ages, containers, selectors, as kubectl's users know them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from binderops.kube.objects import parse_timestamp
from binderops.kube.selectors import from_label_selector
from binderops.node.api.objects.status import Object

Columns = tuple[str, ...]
NAME_COLUMN = "Name"
NONE = "<none>"
UNKNOWN = "<unknown>"


def human_duration(seconds: float) -> str:
    """`5s`, `3m20s`, `2h5m`, `3d4h`, `1y20d`: apimachinery's duration.HumanDuration."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 120:
        return f"{max(total, 0)}s"
    minutes, hours = total // 60, total // 3600
    if minutes < 10:
        return _pair(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 24 * 8:
        return _pair(hours // 24, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{hours // 24}d"
    if hours < 24 * 365 * 8:
        return _pair(hours // 24 // 365, "y", hours // 24 % 365, "d")
    return f"{hours // 24 // 365}y"


def since(time: Any, now: datetime) -> str:
    """How long ago a timestamp was, or `<unknown>`."""
    if not time:
        return UNKNOWN
    try:
        return human_duration((now - parse_timestamp(str(time))).total_seconds())
    except ValueError:
        return UNKNOWN


def age(obj: Object, now: datetime) -> str:
    """How old an object is."""
    return since((obj.get("metadata") or {}).get("creationTimestamp"), now)


def name(obj: Object) -> str:
    """An object's name."""
    return str((obj.get("metadata") or {}).get("name", ""))


def containers(pod_spec: Object) -> tuple[str, str]:
    """The names and the images of a pod spec's containers."""
    items = pod_spec.get("containers") or []
    names = ",".join(str(each.get("name", "")) for each in items)
    return names, ",".join(str(each.get("image", "")) for each in items)


def template_containers(obj: Object) -> tuple[str, str]:
    """The names and the images of a workload's containers."""
    template = (obj.get("spec") or {}).get("template") or {}
    return containers(template.get("spec") or {})


def selector_text(selector: Object | None) -> str:
    """A LabelSelector in one line."""
    return str(from_label_selector(selector)) or NONE if selector else NONE


def labels_text(labels: Object | None) -> str:
    """Labels in one line."""
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) if labels else NONE


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
