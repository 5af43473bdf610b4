"""What a Service keeps of its allocations when an update does not name them (kube-apiserver's patchAllocatedValues)."""

from __future__ import annotations

from typing import Any

from binderops.node.api.objects.status import Object

_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")


def with_allocated(new: Object, old: Object) -> Object:
    """The new spec with the old cluster address, address families and node ports where it leaves them out."""
    result = dict(new)
    if "ExternalName" in (new.get("type"), old.get("type")):
        if new.get("type") == "ExternalName" and new.get("clusterIP") == old.get("clusterIP"):
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
                result.pop(field, None)
        return result
    for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if not result.get(field) and old.get(field):
            result[field] = old[field]
    if new.get("type") in _WITH_NODE_PORTS and old.get("type") in _WITH_NODE_PORTS:
        result["ports"] = _node_ports(new.get("ports"), old.get("ports"))
    elif new.get("type") == "ClusterIP" and old.get("type") in _WITH_NODE_PORTS:
        result["ports"] = _without_node_ports(new.get("ports"), old.get("ports"))
        for field in ("externalTrafficPolicy", "allocateLoadBalancerNodePorts", "healthCheckNodePort"):
            if same_or_absent(result.get(field), old.get(field)):
                result.pop(field, None)
    return result


def same_or_absent(new: Any, old: Any) -> bool:
    """Whether an update leaves a field that belongs to another type of Service as it was."""
    return new is None or bool(new == old)


def _node_ports(ports: Any, before: Any) -> list[Any]:
    old = {(each.get("protocol"), each.get("port")): each.get("nodePort") for each in before or []}
    taken = {each.get("nodePort") for each in ports or []}
    result = []
    for each in ports or []:
        kept = old.get((each.get("protocol"), each.get("port")))
        result.append({**each, "nodePort": kept} if kept and not each.get("nodePort") and kept not in taken else each)
    return result


def _without_node_ports(ports: Any, before: Any) -> list[Any]:
    """A client that reads, changes the type and writes back sends the old node ports: they go with the type."""
    old = {each.get("nodePort") for each in before or []}
    return [
        {key: value for key, value in each.items() if key != "nodePort" or value not in old} for each in ports or []
    ]
