"""What a Service is given: cluster addresses out of the node's service range, and node ports.

What is in use is read from the Services themselves at each allocation: nothing can leak, and a deletion frees at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from binderops.node.api.objects.status import Cause, unprocessable
from binderops.node.config import NodeConfig
from binderops.node.store import Store

Object = dict[str, Any]
NODE_PORTS = range(30000, 32768)
_WITH_NODE_PORTS = {"NodePort", "LoadBalancer"}
_TRIES = 64


def allocate(store: Store, config: NodeConfig, service: Object, *, live: Object | None) -> Object:
    """The Service with its addresses and ports: kept ones, asked-for ones if they are free, else free ones. 422."""
    spec = dict(service.get("spec") or {})
    before = (live or {}).get("spec") or {}
    others = [r.object().get("spec") or {} for r in store.latest_records("services") if not _is_same(r, service)]
    if spec.get("type") == "ExternalName":
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            spec.pop(key, None)
    else:
        _set_address(spec, before, others, config, service)
    _set_ports(spec, before, others, service)
    return {**service, "spec": spec}


def _set_address(spec: Object, before: Object, others: list[Object], config: NodeConfig, service: Object) -> None:
    wanted = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "") or before.get("clusterIP") or ""
    kept = before.get("clusterIP") or ""
    if kept not in {"", "None", wanted} and before.get("type") != "ExternalName":
        raise _invalid(service, "spec.clusterIPs[0]", f'Invalid value: ["{wanted}"]: may not change once set')
    used = {address for other in others for address in [other.get("clusterIP")] if address}
    if not wanted:
        wanted = _free_address(config, used)
        if not wanted:
            raise _invalid(service, "spec.clusterIPs", f"the range {config.service_range} is full")
    elif wanted not in {"None", kept}:
        _check_address(config, wanted, used, service)
    spec["clusterIP"], spec["clusterIPs"] = wanted, [wanted]
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if "IPv6" in spec["ipFamilies"] or spec["ipFamilyPolicy"] == "RequireDualStack":
        raise _invalid(service, "spec.ipFamilies[0]", 'Invalid value: "IPv6": not configured on this cluster')


def _free_address(config: NodeConfig, used: set[str]) -> str:
    network = IPv4Network(config.service_range)
    # The first are the node's own; after them, chance first: addresses should not be taken again soon.
    first, last = int(network.network_address) + 16, int(network.broadcast_address) - 1
    tries = (random.randint(first, last) for _ in range(_TRIES))  # noqa: S311 - no secret
    candidates = (str(IPv4Address(number)) for source in (tries, range(first, last + 1)) for number in source)
    return next((address for address in candidates if address not in used), "")


def _check_address(config: NodeConfig, wanted: str, used: set[str], service: Object) -> None:
    network, field = IPv4Network(config.service_range), "spec.clusterIPs"
    try:
        address = IPv4Address(wanted)
    except ValueError:
        raise _invalid(service, f"{field}[0]", f'Invalid value: "{wanted}": must be a valid IP address') from None
    where = f'Invalid value: ["{wanted}"]: failed to allocate IP {wanted}:'
    if address not in network or address in {network[0], network[1], network[-1]}:
        raise _invalid(service, field, f"{where} the provided IP is not in the valid range {network}")
    if wanted in used:
        raise _invalid(service, field, f"{where} provided IP is already allocated")


def _set_ports(spec: Object, before: Object, others: Iterable[Object], service: Object) -> None:
    ports = [dict(port) for port in spec.get("ports") or ()]
    spec_type = spec.get("type") or "ClusterIP"
    wants = spec_type == "NodePort" or (spec_type == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True))
    if ports:
        spec["ports"] = ports
    if spec_type not in _WITH_NODE_PORTS:
        # An update that turns a NodePort Service into a ClusterIP one frees what it had.
        for port in ports:
            port.pop("nodePort", None)
        return
    kept = {(p.get("protocol"), p.get("port"), p.get("name")): p.get("nodePort") for p in before.get("ports") or ()}
    used = {port["nodePort"] for other in others for port in other.get("ports") or () if port.get("nodePort")}
    for index, port in enumerate(ports):
        known = kept.get((port.get("protocol"), port.get("port"), port.get("name")))
        wanted = port.get("nodePort") or (known if known not in used else None)
        if wanted is not None and wanted in used:
            message = f"Invalid value: {wanted}: provided port is already allocated"
            raise _invalid(service, f"spec.ports[{index}].nodePort", message)
        if wanted is not None and wanted not in NODE_PORTS:
            valid = f"The range of valid ports is {NODE_PORTS[0]}-{NODE_PORTS[-1]}"
            message = f"Invalid value: {wanted}: provided port is not in the valid range. {valid}"
            raise _invalid(service, f"spec.ports[{index}].nodePort", message)
        if wanted is None and wants:
            free = [number for number in NODE_PORTS if number not in used]
            if not free:
                raise _invalid(service, f"spec.ports[{index}].nodePort", "every node port is in use")
            wanted = random.choice(free)  # noqa: S311 - no secret
        if wanted is not None:
            port["nodePort"] = wanted
            used.add(wanted)


def _is_same(record: Any, service: Object) -> bool:
    metadata = service["metadata"]
    return (record.namespace, record.name) == (metadata.get("namespace", ""), metadata["name"])


def _invalid(service: Object, field: str, message: str) -> Exception:
    name = service["metadata"]["name"]
    cause = Cause("FieldValueInvalid", field, message)
    details = {"name": name, "kind": "Service", "causes": [cause.as_json()]}
    return unprocessable(f'Service "{name}" is invalid: {field}: {message}', details=details)
