"""The row of a pod, as kubectl prints it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from binderops.kube.pods import summary
from binderops.node.api.objects.printing import NONE, Columns, age, name, since
from binderops.node.api.objects.status import Object


def _pod_row(pod: Object, now: datetime) -> list[Any]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    found = summary(pod)
    text = str(found.restarts)
    if found.restarts and found.last_restart:
        text += f" ({since(found.last_restart, now)} ago)"
    gates = spec.get("readinessGates") or []
    true = {each.get("type") for each in status.get("conditions") or [] if each.get("status") == "True"}
    met = sum(each.get("conditionType") in true for each in gates)
    return [
        name(pod),
        f"{found.ready}/{found.total}",
        found.status,
        text,
        age(pod, now),
        status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{met}/{len(gates)}" if gates else NONE,
    ]


PRINTERS: Mapping[str, tuple[Columns, Callable[[Object, datetime], list[Any]]]] = {
    "Pod": (
        ("Name", "Ready", "Status", "Restarts", "Age", "IP*", "Node*", "Nominated Node*", "Readiness Gates*"),
        _pod_row,
    )
}
