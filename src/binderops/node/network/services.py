"""Services and their EndpointSlices, read into what address translation needs to know. Pure: no kernel, no API.

Source of the rules: the Service and EndpointSlice API reference, and kube-proxy where that leaves a choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any, NamedTuple

Object = Mapping[str, Any]
Key = tuple[str, str]

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
SUPPORTED_PROTOCOLS = ("TCP", "UDP")
_DEFAULT_AFFINITY_SECONDS = 10800


class Backend(NamedTuple):
    """One endpoint of a Service port."""

    address: str
    port: int


class Frontend(NamedTuple):
    """An address and port that leads to a Service."""

    address: str
    protocol: str
    port: int


@dataclass(frozen=True)
class ServicePort:
    """One port of a Service that has a virtual address."""

    namespace: str
    service: str
    name: str
    protocol: str
    port: int
    cluster_ip: str
    node_port: int = 0
    backends: tuple[Backend, ...] = ()
    affinity_seconds: int = 0
    load_balancer: bool = False
    source_ranges: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """NAMESPACE/SERVICE:PORT, for people."""
        return f"{self.namespace}/{self.service}:{self.name or self.port}"

    @property
    def cluster_frontend(self) -> Frontend:
        """The Service's own address and port."""
        return Frontend(self.cluster_ip, self.protocol, self.port)


def read_service_ports(services: Iterable[Object], slices: Iterable[Object]) -> list[ServicePort]:
    """Every port of every Service with a ClusterIP, with its endpoints, in a stable order.

    Headless Services and ExternalName have no address to translate; ports of other protocols than TCP and UDP are
    left out.
    """
    by_service: dict[Key, list[Object]] = {}
    for entry in slices:
        meta = entry["metadata"]
        owner = (meta.get("labels") or {}).get(SERVICE_NAME_LABEL)
        if owner and entry.get("addressType", "IPv4") == "IPv4":
            by_service.setdefault((meta["namespace"], owner), []).append(entry)
    found = []
    for service in services:
        meta = service["metadata"]
        found += list(_ports_of(service, by_service.get((meta["namespace"], meta["name"]), [])))
    return sorted(found, key=lambda port: (port.namespace, port.service, port.port, port.protocol))


def has_cluster_ip(service: Object) -> bool:
    """Whether a Service has a virtual IPv4 address."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return False
    try:
        IPv4Address(spec.get("clusterIP") or "")
    except AddressValueError:
        return False
    return True


def is_load_balancer(service: Object) -> bool:
    """Whether this machine publishes a Service; one with a loadBalancerClass is left to that class's controller."""
    spec = service.get("spec") or {}
    return has_cluster_ip(service) and spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass")


def unsupported(service: Object) -> list[str]:
    """What a Service asks for that this network does not do, in words for an Event."""
    spec = service.get("spec") or {}
    found = []
    if spec.get("externalIPs"):
        found.append("spec.externalIPs (a Service must not take addresses that are others': CVE-2020-8554)")
    for port in spec.get("ports") or []:
        if (port.get("protocol") or "TCP") not in SUPPORTED_PROTOCOLS:
            found.append(f"protocol {port['protocol']} of port {port.get('port')}")
    if any(not _is_ipv4(address) for address in spec.get("clusterIPs") or [] if address != "None"):
        found.append("IPv6 addresses")
    return found


def _ports_of(service: Object, slices: list[Object]) -> Iterator[ServicePort]:
    if not has_cluster_ip(service):
        return
    meta, spec = service["metadata"], service["spec"]
    affinity = 0
    if spec.get("sessionAffinity") == "ClientIP":
        client_ip = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        affinity = int(client_ip.get("timeoutSeconds") or _DEFAULT_AFFINITY_SECONDS)
    for port in spec.get("ports") or []:
        protocol = port.get("protocol") or "TCP"
        if protocol not in SUPPORTED_PROTOCOLS:
            continue
        yield ServicePort(
            namespace=meta["namespace"],
            service=meta["name"],
            name=port.get("name") or "",
            protocol=protocol,
            port=int(port["port"]),
            cluster_ip=spec["clusterIP"],
            node_port=int(port.get("nodePort") or 0),
            backends=_backends(slices, port.get("name") or "", protocol),
            affinity_seconds=affinity,
            load_balancer=is_load_balancer(service),
            source_ranges=_source_ranges(spec),
        )


def _backends(slices: list[Object], name: str, protocol: str) -> tuple[Backend, ...]:
    """The ready endpoints; where none is ready, those that end but still serve (as kube-proxy falls back to)."""
    ready: set[Backend] = set()
    ending: set[Backend] = set()
    for entry in slices:
        ports = [
            int(port["port"])
            for port in entry.get("ports") or []
            if (port.get("name") or "") == name and (port.get("protocol") or "TCP") == protocol and port.get("port")
        ]
        for endpoint in entry.get("endpoints") or []:
            conditions = endpoint.get("conditions") or {}
            is_ready = conditions.get("ready") is not False
            ends = conditions.get("terminating") is True and conditions.get("serving") is not False
            if not is_ready and not ends:
                continue
            group = ready if is_ready else ending
            for address in (endpoint.get("addresses") or [])[:1]:
                group.update(Backend(address, port) for port in ports if _is_ipv4(address))
    return tuple(sorted(ready or ending))


def _source_ranges(spec: Object) -> tuple[str, ...]:
    ranges = []
    for text in spec.get("loadBalancerSourceRanges") or []:
        try:
            ranges.append(str(IPv4Network(text.strip(), strict=False)))
        except ValueError:
            continue  # an IPv6 range: no IPv6 client is translated
    # Ranges were given and none is IPv4: nobody may come, which is not the same as everybody.
    return tuple(ranges) or (("255.255.255.255/32",) if spec.get("loadBalancerSourceRanges") else ())


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True
