"""Ingresses, NetworkPolicies and EndpointSlices."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from binderops.node.api.objects.status import Object
from binderops.node.api.objects.validation.fields import (
    Causes,
    forbidden,
    immutable,
    invalid,
    items,
    not_supported,
    port,
    required,
)
from binderops.node.api.objects.validation.names import dns_1035_label, dns_subdomain, port_name
from binderops.node.api.objects.validation.workloads import label_selector

_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_PARTS = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS = ("/..", "/.")


def ingress(obj: Object, old: Object | None) -> Causes:
    """An Ingress."""
    spec = obj.get("spec") or {}
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        yield invalid("spec", {}, "either `defaultBackend` or `rules` must be specified")
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if old is None and _CLASS_ANNOTATION in annotations and spec.get("ingressClassName"):
        detail = "can not be set when the class field is also set"
        yield invalid(f"annotations.{_CLASS_ANNOTATION}", annotations[_CLASS_ANNOTATION], detail)
    if spec.get("ingressClassName"):
        yield from dns_subdomain("spec.ingressClassName", spec["ingressClassName"])
    if spec.get("defaultBackend") is not None:
        yield from _backend(spec["defaultBackend"], "spec.defaultBackend")
    for path, rule in items(spec.get("rules"), "spec.rules"):
        yield from _rule(rule, path)
    for path, tls in items(spec.get("tls"), "spec.tls"):
        for index, host in enumerate(tls.get("hosts") or []):
            yield from _host(f"{path}.hosts[{index}]", str(host))


def _rule(rule: Mapping[str, Any], path: str) -> Causes:
    if rule.get("host"):
        yield from _rule_host(f"{path}.host", str(rule["host"]))
    http = rule.get("http")
    if http is None:
        return
    if not http.get("paths"):
        yield required(f"{path}.http.paths")
    for place, each in items(http.get("paths"), f"{path}.http.paths"):
        yield from _path(each, place)
        yield from _backend(each.get("backend") or {}, f"{place}.backend")


def _rule_host(path: str, host: str) -> Causes:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        yield from _host(path, host)
    else:
        yield invalid(path, host, "must be a DNS name, not an IP address")


def _host(path: str, host: str) -> Causes:
    """What `spec.tls` may name, too: certificates can be for IPv4 addresses, which look like names."""
    if not host.startswith("*"):
        yield from dns_subdomain(path, host)
    elif not host.startswith("*.") or list(dns_subdomain(path, host[2:])):
        detail = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain"
        yield invalid(path, host, detail)


def _path(each: Mapping[str, Any], place: str) -> Causes:
    kind, path = each.get("pathType"), str(each.get("path") or "")
    if kind is None:
        yield required(f"{place}.pathType", "pathType must be specified")
    elif kind not in _TYPES:
        yield not_supported(f"{place}.pathType", kind, _TYPES)
    elif kind in ("Exact", "Prefix"):
        if not path.startswith("/"):
            yield invalid(f"{place}.path", path, "must be an absolute path")
        for part in _BAD_PARTS:
            if part in path:
                yield invalid(f"{place}.path", path, f"must not contain '{part}'")
        for end in _BAD_ENDS:
            if path.endswith(end):
                yield invalid(f"{place}.path", path, f"cannot end with '{end}'")
    elif path and not path.startswith("/"):
        yield invalid(f"{place}.path", path, "must be an absolute path")


def _backend(backend: Mapping[str, Any], path: str) -> Causes:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        yield invalid(path, "", "cannot set both resource and service backends")
    elif service is None and resource is None:
        yield required(path, "resource or service backend is required")
    if service is None:
        return
    if not service.get("name"):
        yield required(f"{path}.service.name")
    else:
        yield from dns_1035_label(f"{path}.service.name", service["name"])
    target = service.get("port") or {}
    if target.get("name") and target.get("number"):
        yield invalid(path, "", "cannot set both port name & port number")
    elif target.get("name"):
        yield from port_name(f"{path}.service.port.name", str(target["name"]))
    elif target.get("number"):
        yield from port(f"{path}.service.port.number", target["number"])
    else:
        yield required(path, "port name or number is required")


def network_policy(obj: Object, old: Object | None) -> Causes:
    """A NetworkPolicy."""
    spec = obj.get("spec") or {}
    yield from label_selector(spec.get("podSelector"), "spec.podSelector")
    for field, side in (("ingress", "from"), ("egress", "to")):
        for path, rule in items(spec.get(field), f"spec.{field}"):
            for place, each in items(rule.get("ports"), f"{path}.ports"):
                yield from _policy_port(each, place)
            for place, peer in items(rule.get(side), f"{path}.{side}"):
                yield from _peer(peer, place)
    for index, each in enumerate(spec.get("policyTypes") or []):
        if each not in ("Ingress", "Egress"):
            yield not_supported(f"spec.policyTypes[{index}]", each, ["Egress", "Ingress"])


def _policy_port(each: Mapping[str, Any], path: str) -> Causes:
    number, end = each.get("port"), each.get("endPort")
    if isinstance(number, str):
        yield from port_name(f"{path}.port", number)
    elif number is not None:
        yield from port(f"{path}.port", number)
    if end is not None:
        if not isinstance(number, int):
            yield invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric or not specified")
        elif end < number:
            yield invalid(f"{path}.endPort", end, "must be greater than or equal to `port`")


def _peer(peer: Mapping[str, Any], path: str) -> Causes:
    given = [field for field in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(field) is not None]
    if not given:
        yield required(path, "must specify a peer")
    elif "ipBlock" in given and len(given) > 1:
        yield forbidden(path, "may not specify both ipBlock and another peer")
    for field in ("podSelector", "namespaceSelector"):
        yield from label_selector(peer.get(field), f"{path}.{field}")
    block = peer.get("ipBlock")
    if block is None:
        return
    if not block.get("cidr"):
        yield required(f"{path}.ipBlock.cidr")
        return
    network = _network(block["cidr"])
    if network is None:
        yield invalid(
            f"{path}.ipBlock.cidr", block["cidr"], "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
        )
        return
    for index, each in enumerate(block.get("except") or []):
        inner = _network(each)
        place = f"{path}.ipBlock.except[{index}]"
        if inner is None:
            yield invalid(place, each, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
        elif inner.version != network.version or not inner.subnet_of(network):  # type: ignore[arg-type]
            yield invalid(place, each, "must be a strict subset of `cidr`")


def _network(text: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(str(text), strict=False) if "/" in str(text) else None
    except ValueError:
        return None


def endpoint_slice(obj: Object, old: Object | None) -> Causes:
    """An EndpointSlice."""
    kind = obj.get("addressType")
    if not kind:
        yield required("addressType")
    for path, endpoint in items(obj.get("endpoints"), "endpoints"):
        if not endpoint.get("addresses"):
            yield required(f"{path}.addresses", "must contain at least 1 address")
    if old is not None:
        yield from immutable("addressType", old.get("addressType"), kind)
