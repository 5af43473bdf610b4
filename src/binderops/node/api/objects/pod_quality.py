"""A pod's quality of service class, from its containers' requests and limits (core/v1 helper/qos)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from binderops.kube.quantity import parse_quantity

_COUNTED = ("cpu", "memory")


def quality_of_service(pod: Mapping[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort."""
    spec = pod.get("spec") or {}
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    resources = [container.get("resources") or {} for container in containers]
    requests = [_amounts(each.get("requests")) for each in resources]
    limits = [_amounts(each.get("limits")) for each in resources]
    if not any(requests) and not any(limits):
        return "BestEffort"
    complete = all(limit.keys() == set(_COUNTED) for limit in limits)
    equal = all(
        request.get(name, amount) == amount
        for request, limit in zip(requests, limits, strict=True)
        for name, amount in limit.items()
    )
    return "Guaranteed" if complete and equal else "Burstable"


def _amounts(resources: Any) -> dict[str, Decimal]:
    result: dict[str, Decimal] = {}
    for name, text in (resources or {}).items():
        if name in _COUNTED:
            try:
                amount = parse_quantity(text)
            except ValueError:
                continue
            if amount:
                result[name] = amount
    return result
