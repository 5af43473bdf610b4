"""Binding a pod to the node, and evicting it within what PodDisruptionBudgets allow."""

from __future__ import annotations

from typing import Any

from binderops.kube.objects import set_condition
from binderops.kube.selectors import from_label_selector
from binderops.node.api import refusals
from binderops.node.api.context import Api, Call
from binderops.node.api.deleting import DeleteOptions, delete_record
from binderops.node.api.http import Answer, json_answer
from binderops.node.api.objects.status import bad_request
from binderops.node.api.resources import Resource
from binderops.node.store import Record

Object = dict[str, Any]
_BINDING = Resource("", "v1", "Binding", "bindings", True, ("create",), {})
_EVICTION = Resource("policy", "v1", "Eviction", "evictions", True, ("create",), {})
_BUDGETS = "poddisruptionbudgets.policy"
_SUCCESS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def bind_pod(api: Api, call: Call) -> Answer:
    """POST pods/NAME/binding: sets `spec.nodeName`, once."""
    body = await call.read_object(kind=_BINDING)
    node = str((body.get("target") or {}).get("name") or "")
    if not node:
        raise bad_request("target.name: Required value")
    record = api.latest(call.resource, call.namespace, call.name)
    pod = record.object()
    if pod["metadata"].get("deletionTimestamp"):
        raise refusals.conflict(
            call.resource, call.name, f"pod {call.name} is being deleted, cannot be assigned to a host"
        )
    assigned = pod["spec"].get("nodeName")
    if assigned:
        raise refusals.conflict(call.resource, call.name, f'pod {call.name} is already assigned to node "{assigned}"')
    pod["spec"]["nodeName"] = node
    status = pod.setdefault("status", {})
    scheduled = {"type": "PodScheduled", "status": "True"}
    status["conditions"] = set_condition(status.get("conditions") or (), scheduled, now=call.now)
    if not call.query.dry_run:
        await api.store.update(pod, previous=record)
    return json_answer(_SUCCESS, code=201)


async def evict_pod(api: Api, call: Call) -> Answer:
    """POST pods/NAME/eviction: a delete that budgets may refuse (429)."""
    body = await call.read_object(kind=_EVICTION)
    record = api.latest(call.resource, call.namespace, call.name)
    given = body.get("deleteOptions") or {}
    conditions = given.get("preconditions") or {}
    dry_run = call.query.dry_run or bool(given.get("dryRun"))
    options = DeleteOptions(
        given.get("gracePeriodSeconds"),
        "",
        conditions.get("uid") or "",
        conditions.get("resourceVersion") or "",
        dry_run,
    )
    phase = (record.object().get("status") or {}).get("phase")
    budgets = [] if phase in {"Failed", "Succeeded", "Pending"} else _budgets_of(api, record)
    if len(budgets) > 1:
        raise refusals.internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    for budget in budgets:
        await _take_from(api, call, budget, dry_run=dry_run)
    # The budget's write was awaited: the pod may have changed meanwhile.
    await delete_record(api, call, api.latest(call.resource, call.namespace, call.name), options)
    return json_answer(_SUCCESS, code=201)


def _budgets_of(api: Api, pod: Record) -> list[Record]:
    found = []
    for record in api.store.latest_records(_BUDGETS):
        if record.namespace == pod.namespace:
            selector = (record.object().get("spec") or {}).get("selector")
            if selector is not None and from_label_selector(selector).matches(pod.labels):
                found.append(record)
    return found


async def _take_from(api: Api, call: Call, record: Record, *, dry_run: bool) -> None:
    budget = record.object()
    status = budget.get("status") or {}
    if int(status.get("disruptionsAllowed") or 0) <= 0:
        needed, healthy = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        message = f"The disruption budget {record.name} needs {needed} healthy pods and has {healthy} currently"
        details = {"causes": [{"reason": "DisruptionBudget", "message": message}]}
        text = "Cannot evict pod as it would violate the pod's disruption budget."
        raise refusals.refusal(429, "TooManyRequests", text, details=details)
    disrupted = {**(status.get("disruptedPods") or {}), call.name: call.now.strftime("%Y-%m-%dT%H:%M:%SZ")}
    allowed = int(status["disruptionsAllowed"]) - 1
    budget["status"] = {**status, "disruptionsAllowed": allowed, "disruptedPods": disrupted}
    if not dry_run:
        await api.store.update(budget, previous=record)
