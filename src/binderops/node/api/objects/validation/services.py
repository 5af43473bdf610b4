"""Services: ports, addresses, and what stays as it was allocated."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from binderops.node.api.objects.status import Object
from binderops.node.api.objects.validation.fields import (
    Causes,
    duplicate,
    forbidden,
    invalid,
    items,
    port,
    required,
)
from binderops.node.api.objects.validation.names import dns_label, dns_subdomain, labels, port_name


def service(obj: Object, old: Object | None) -> Causes:
    """A Service."""
    spec = obj.get("spec") or {}
    kind, address = spec.get("type"), spec.get("clusterIP")
    if kind == "ExternalName":
        if not spec.get("externalName"):
            yield required("spec.externalName")
        else:
            yield from dns_subdomain("spec.externalName", str(spec["externalName"]).rstrip("."))
        if address not in (None, ""):
            yield forbidden("spec.clusterIPs[0]", "may not be set for ExternalName services")
    elif not spec.get("ports") and address != "None":
        yield required("spec.ports")
    if kind in ("NodePort", "LoadBalancer") and address == "None":
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    yield from _ports(spec.get("ports"), str(kind))
    yield from labels("spec.selector", spec.get("selector"))
    if address not in (None, "", "None"):
        yield from _address("spec.clusterIPs[0]", address)
    for index, each in enumerate(spec.get("externalIPs") or []):
        yield from _address(f"spec.externalIPs[{index}]", each)
    yield from _source_ranges(spec.get("loadBalancerSourceRanges"))
    if old is not None:
        yield from _fixed(spec, old.get("spec") or {})


def _ports(ports: Any, kind: str) -> Causes:
    names: set[str] = set()
    numbers: set[tuple[Any, Any]] = set()
    many = len(ports or []) > 1
    for place, each in items(ports, "spec.ports"):
        name = each.get("name")
        if not name and many:
            yield required(f"{place}.name")
        elif name:
            yield from dns_label(f"{place}.name", name)
            if name in names:
                yield duplicate(f"{place}.name", name)
            names.add(str(name))
        yield from port(f"{place}.port", each.get("port"))
        target = each.get("targetPort")
        if isinstance(target, str):
            yield from port_name(f"{place}.targetPort", target)
        elif target is not None:
            yield from port(f"{place}.targetPort", target)
        if each.get("nodePort") and kind not in ("NodePort", "LoadBalancer"):
            yield forbidden(f"{place}.nodePort", f"may not be used when `type` is '{kind}'")
        key = (each.get("protocol"), each.get("port"))
        if key in numbers:
            yield duplicate(place, {"port": each.get("port"), "protocol": each.get("protocol")})
        numbers.add(key)


def _fixed(spec: Mapping[str, Any], before: Mapping[str, Any]) -> Causes:
    address, earlier = spec.get("clusterIP") or "", before.get("clusterIP") or ""
    stays = "ExternalName" not in (spec.get("type"), before.get("type"))
    if stays and earlier and address != earlier:
        yield invalid("spec.clusterIPs[0]", [address], "may not change once set")
    elif stays and earlier and spec.get("clusterIPs") and spec["clusterIPs"][0] != address:
        yield invalid("spec.clusterIPs", spec["clusterIPs"], "first value must match `clusterIP`")


def _source_ranges(ranges: Any) -> Causes:
    for index, each in enumerate(ranges or []):
        try:
            ipaddress.ip_network(str(each).strip(), strict=False)
        except ValueError:
            yield invalid(f"spec.loadBalancerSourceRanges[{index}]", each, "must be a valid CIDR value")


def _address(path: str, value: Any) -> Causes:
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        yield invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
