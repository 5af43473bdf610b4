"""What cluster DNS knows by itself: Services, endpoints, pods by address, and the environment's public names. Pure.

Source: "Kubernetes DNS-Based Service Discovery", schema 1.1.0, and CoreDNS' kubernetes plugin where that leaves a
choice. IPv4 only: an AAAA question for a name that exists is answered with no data.

Public names are the hosts of Ingress rules. They lead to the ClusterIP of the ingress controller in the Ingress's
namespace (the LoadBalancer Service labelled app=nginx-ingress, component=controller), so that a pod reaches the
environment's own pages without leaving the machine, on any port that the Service has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address
from typing import Any, NamedTuple

Object = Mapping[str, Any]
Names = tuple[str, ...]
"""A name as its labels, lower case, the leftmost first."""

SCHEMA_VERSION = "1.1.0"
TTL_SECONDS = 5
"""CoreDNS' own: Services change while their clients live."""

_INGRESS_LABELS = {"app": "nginx-ingress", "component": "controller"}
_SERVICE_NAME = "kubernetes.io/service-name"


class Record(NamedTuple):
    """One resource record: type A, CNAME, SRV, PTR, TXT or NS; `data` is an address, a name, text, or SRV's four."""

    name: str
    type: str
    data: str | tuple[int, int, int, str]


@dataclass(frozen=True)
class Answer:
    """What the zone says: `exists` False is NXDOMAIN; no records for an existing name is NODATA.

    `follow` is a name outside the cluster that a CNAME leads to: its records are to be fetched and added.
    """

    exists: bool
    records: tuple[Record, ...] = ()
    extra: tuple[Record, ...] = ()
    follow: str | None = None


_NOBODYS = frozenset({"localhost", "svc", "invalid", "onion"})
"""RFC 6761, cluster names cut short, RFC 7686."""

_NONE = Answer(exists=False)
_EMPTY = Answer(exists=True)


def _is_inside(labels: Names, *, six: bool = False) -> bool:
    """Whether a name of the reverse tree is one of addresses that are not global, the cluster's own among them.

    Their names are a network's own business (RFC 6303): whoever runs code here must not read them off its resolver.
    """
    parts, whole = list(reversed(labels)), 32 if six else 4
    if not 0 < len(parts) <= whole:
        return False
    parts += ["0"] * (whole - len(parts))
    text = ":".join("".join(parts[at : at + 4]) for at in range(0, whole, 4)) if six else ".".join(parts)
    try:
        return not (IPv6Address(text) if six else IPv4Address(text)).is_global
    except AddressValueError:
        return False


@dataclass
class _Endpoint:
    hostname: str
    address: str


@dataclass
class _Service:
    cluster_ip: str | None
    external_name: str | None
    ports: tuple[tuple[str, str, int], ...]
    endpoints: list[_Endpoint] = field(default_factory=list)
    endpoint_ports: set[tuple[str, str, int]] = field(default_factory=set)

    @property
    def headless(self) -> bool:
        return self.cluster_ip is None and self.external_name is None


class Zone:
    """The names of one moment. Building it is linear in the objects; an answer is a few dictionary look-ups."""

    def __init__(
        self,
        *,
        domain: str,
        own_ranges: Iterable[str],
        namespaces: Iterable[Object] = (),
        services: Iterable[Object] = (),
        slices: Iterable[Object] = (),
        ingresses: Iterable[Object] = (),
    ) -> None:
        self._domain = _labels(domain)
        self._ranges = [IPv4Network(text) for text in own_ranges]
        self._namespaces = {str(entry["metadata"]["name"]) for entry in namespaces}
        self._services: dict[tuple[str, str], _Service] = {}
        self._reverse: dict[str, str] = {}
        self._hosts: dict[Names, str] = {}
        for service in services:
            self._add_service(service)
        for entry in slices:
            self._add_slice(entry)
        self._index_reverse()
        self._add_hosts(ingresses, services)

    def lookup(self, name: str, kind: str) -> Answer | None:
        """The zone's answer for a name (no matter its case or a dot at its end); None when the name is not its own."""
        labels = _labels(name)
        if labels[-len(self._domain) :] == self._domain:
            return self._cluster(labels[: -len(self._domain)], name, kind)
        if labels[-2:] == ("in-addr", "arpa"):
            return self._pointer(labels[:-2], name, kind)
        if labels[-2:] == ("ip6", "arpa"):
            return _NONE if _is_inside(labels[:-2], six=True) else None
        return self._public(labels, name, kind)

    def _cluster(self, labels: Names, name: str, kind: str) -> Answer:
        match labels:
            case ():
                return _found(name, kind, NS=f"ns.dns.{'.'.join(self._domain)}")
            case ("dns-version",):
                return _found(name, kind, TXT=SCHEMA_VERSION)
            case ("svc",) | ("pod",):
                return _EMPTY
            case (namespace, "svc" | "pod") if namespace in self._namespaces:
                return _EMPTY
            case (address, namespace, "pod"):
                return self._pod(address, namespace, name, kind)
            case (*below, service, namespace, "svc"):
                return self._service(tuple(below), (namespace, service), name, kind)
        return _NONE

    def _pod(self, dashed: str, namespace: str, name: str, kind: str) -> Answer:
        try:
            address = IPv4Address(dashed.replace("-", "."))
        except AddressValueError:
            return _NONE
        if namespace not in self._namespaces or not any(address in network for network in self._ranges):
            return _NONE
        return _found(name, kind, A=str(address))

    def _service(self, below: Names, key: tuple[str, str], name: str, kind: str) -> Answer:
        service = self._services.get(key)
        if service is None:
            return _NONE
        own = f"{key[1]}.{key[0]}.svc.{'.'.join(self._domain)}"
        if len(below) == 2 and below[0].startswith("_") and below[1].startswith("_"):
            return _srv(service, below[0][1:], below[1][1:].upper(), own, name, kind)
        if len(below) == 1 and service.headless:
            addresses = [entry.address for entry in service.endpoints if entry.hostname == below[0]]
            return _addresses(name, kind, addresses) if addresses else _NONE
        if below:
            return _NONE
        if service.external_name is not None:
            return self._alias(service.external_name, name, kind)
        if service.cluster_ip is not None:
            return _addresses(name, kind, [service.cluster_ip])
        # A headless Service without endpoints does not exist, as CoreDNS has it.
        return _addresses(name, kind, [entry.address for entry in service.endpoints]) if service.endpoints else _NONE

    def _alias(self, target: str, name: str, kind: str) -> Answer:
        alias = Record(name, "CNAME", target)
        if kind == "CNAME":
            return Answer(exists=True, records=(alias,))
        key = _labels(target)
        # An alias of an alias is left to the client, so that no circle turns here.
        if key[-len(self._domain) :] == self._domain and self._is_alias(key[: -len(self._domain)]):
            return Answer(exists=True, records=(alias,))
        inside = self.lookup(target, kind)
        if inside is None:
            return Answer(exists=True, records=(alias,), follow=target)
        more = tuple(record for record in inside.records if record.type == kind)
        return Answer(exists=True, records=(alias, *more))

    def _is_alias(self, labels: Names) -> bool:
        service = self._services.get((labels[1], labels[0])) if labels[2:] == ("svc",) else None
        return service is not None and service.external_name is not None

    def _pointer(self, labels: Names, name: str, kind: str) -> Answer | None:
        address = ".".join(reversed(labels))
        target = self._reverse.get(address)
        if target is not None:
            return _found(name, kind, PTR=target)
        return _NONE if _is_inside(labels) else None

    def _public(self, labels: Names, name: str, kind: str) -> Answer | None:
        address = self._hosts.get(labels) or self._hosts.get(("*", *labels[1:]))
        if address is not None:
            return _addresses(name, kind, [address])
        if labels == ("localhost",):  # RFC 6761
            return _found(name, kind, A="127.0.0.1", AAAA="::1")
        # Not for others to know, nor theirs to answer: single labels, and names of these.
        return _NONE if len(labels) < 2 or labels[-1] in _NOBODYS else None

    def _add_service(self, service: Object) -> None:
        meta, spec = service["metadata"], service.get("spec") or {}
        cluster_ip = spec.get("clusterIP")
        external = spec.get("externalName") if spec.get("type") == "ExternalName" else None
        self._services[meta["namespace"], meta["name"]] = _Service(
            cluster_ip=cluster_ip if external is None and cluster_ip not in (None, "", "None") else None,
            external_name=external.rstrip(".") if external else None,
            ports=tuple(
                (port.get("name") or "", port.get("protocol") or "TCP", int(port["port"]))
                for port in spec.get("ports") or []
            ),
        )

    def _add_slice(self, entry: Object) -> None:
        meta = entry["metadata"]
        service = self._services.get((meta["namespace"], (meta.get("labels") or {}).get(_SERVICE_NAME, "")))
        if service is None or not service.headless or entry.get("addressType", "IPv4") != "IPv4":
            return
        for port in entry.get("ports") or []:
            if port.get("port"):
                service.endpoint_ports.add((port.get("name") or "", port.get("protocol") or "TCP", int(port["port"])))
        for endpoint in entry.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            for address in endpoint.get("addresses") or []:
                hostname = endpoint.get("hostname") or str(address).replace(".", "-")
                service.endpoints.append(_Endpoint(hostname.lower(), address))

    def _index_reverse(self) -> None:
        for (namespace, name), service in self._services.items():
            own = f"{name}.{namespace}.svc.{'.'.join(self._domain)}"
            if service.cluster_ip:
                self._reverse[service.cluster_ip] = own
            for endpoint in service.endpoints:
                self._reverse.setdefault(endpoint.address, f"{endpoint.hostname}.{own}")

    def _add_hosts(self, ingresses: Iterable[Object], services: Iterable[Object]) -> None:
        controllers: dict[str, str] = {}
        for service in services:
            meta, spec = service["metadata"], service.get("spec") or {}
            labels = meta.get("labels") or {}
            if spec.get("type") == "LoadBalancer" and _INGRESS_LABELS.items() <= labels.items():
                controllers[meta["namespace"]] = spec.get("clusterIP") or ""
        for ingress in ingresses:
            address = controllers.get(ingress["metadata"]["namespace"])
            if not address:
                continue
            for rule in (ingress.get("spec") or {}).get("rules") or []:
                if rule.get("host"):
                    self._hosts.setdefault(_labels(rule["host"]), address)


def _srv(service: _Service, port: str, protocol: str, own: str, name: str, kind: str) -> Answer:
    """SRV of a named port; for a headless Service one for each endpoint, with its address beside."""
    ports = service.endpoint_ports if service.headless else service.ports
    numbers = sorted(number for label, proto, number in ports if label.lower() == port and proto == protocol)
    if not numbers:
        return _NONE
    if kind != "SRV":
        return _EMPTY
    if not service.headless:
        extra = (Record(own, "A", service.cluster_ip),) if service.cluster_ip else ()
        return Answer(True, tuple(Record(name, "SRV", (0, 100, number, own)) for number in numbers), extra)
    targets = {f"{endpoint.hostname}.{own}": endpoint.address for endpoint in service.endpoints}
    weight = max(1, 100 // max(1, len(targets)))
    records = tuple(Record(name, "SRV", (0, weight, number, target)) for target in targets for number in numbers)
    return Answer(True, records, tuple(Record(target, "A", address) for target, address in targets.items()))


def _addresses(name: str, kind: str, addresses: Iterable[str]) -> Answer:
    if kind not in ("A", "ANY"):
        return _EMPTY
    return Answer(True, tuple(Record(name, "A", address) for address in dict.fromkeys(addresses)))


def _found(name: str, kind: str, **data: str) -> Answer:
    return Answer(True, (Record(name, kind, data[kind]),)) if kind in data else _EMPTY


def _labels(name: str) -> Names:
    return tuple(label for label in name.lower().split(".") if label)
