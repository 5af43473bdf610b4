"""NetworkPolicies, read into what each pod may receive and send. Pure: no kernel, no API.

Source: the NetworkPolicy API reference (networking.k8s.io/v1). A pod that no policy selects is not isolated; one that
some select gets what any of them allows. Ingress and egress are apart. IPv4 only, as the pod network is.

Cluster DNS is answered by the host, and people write policies for a pod in kube-system labelled k8s-app=kube-dns: the
view has such a pod, at the DNS address and reachable on port 53 alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import structlog

from binderops.kube.selectors import EVERYTHING, NOTHING, LabelSelector, from_label_selector
from binderops.node.network.intervals import (
    EVERYWHERE,
    Intervals,
    contains,
    of_address,
    of_cidr,
    subtract,
    union,
)

log = structlog.get_logger(__name__)

Object = Mapping[str, Any]
_HIGHEST_PORT = 65535
_DNS_PORTS = (("dns", "UDP", 53), ("dns-tcp", "TCP", 53))


class PortRange(NamedTuple):
    """Ports `first` to `last` of a protocol (TCP, UDP or SCTP)."""

    protocol: str
    first: int
    last: int


@dataclass(frozen=True)
class Reach:
    """Some addresses on some ports; `ports` None means every port of every protocol, and ICMP."""

    addresses: Intervals
    ports: tuple[PortRange, ...] | None = None

    def allows(self, address: int, protocol: str, port: int) -> bool:
        """Whether a packet to (or from) this address, to this port, is within reach."""
        return contains(self.addresses, address) and (
            self.ports is None or any(r.protocol == protocol and r.first <= port <= r.last for r in self.ports)
        )


@dataclass(frozen=True)
class PodRules:
    """What a pod may receive and send; None where no policy isolates it."""

    ingress: tuple[Reach, ...] | None = None
    egress: tuple[Reach, ...] | None = None


@dataclass(frozen=True)
class PodPeer:
    """A pod as policies see it. `only`: the ports that it can be reached on at all."""

    namespace: str
    labels: Mapping[str, str]
    address: str
    named_ports: tuple[tuple[str, str, int], ...] = ()
    only: tuple[PortRange, ...] | None = None


def named_addresses(policies: Iterable[Object]) -> frozenset[str]:
    """Single IPv4 addresses that policies allow egress to: blocks of exactly one."""
    blocks = (
        peer.get("ipBlock") or {}
        for policy in policies
        for rule in (policy.get("spec") or {}).get("egress") or []
        for peer in rule.get("to") or []
    )
    cidrs = (str(block.get("cidr") or "") for block in blocks)
    return frozenset(cidr.removesuffix("/32") for cidr in cidrs if cidr.endswith("/32") and ":" not in cidr)


def pod_peer(pod: Object, address: str) -> PodPeer:
    """The peer for a pod object that has this address."""
    meta, spec = pod["metadata"], pod.get("spec") or {}
    sidecars = [entry for entry in spec.get("initContainers") or [] if entry.get("restartPolicy") == "Always"]
    ports = tuple(
        (port["name"], port.get("protocol") or "TCP", int(port["containerPort"]))
        for container in [*(spec.get("containers") or []), *sidecars]
        for port in container.get("ports") or []
        if port.get("name")
    )
    return PodPeer(meta["namespace"], meta.get("labels") or {}, address, ports)


def dns_peer(address: str) -> PodPeer:
    """Cluster DNS as the pod that policies name."""
    only = tuple(PortRange(protocol, number, number) for _, protocol, number in _DNS_PORTS)
    return PodPeer("kube-system", {"k8s-app": "kube-dns"}, address, _DNS_PORTS, only)


@dataclass
class PolicyView:
    """The policies of one moment, over the pods and namespaces of that moment.

    Peers are resolved once per distinct selector, so that the cost grows with selectors times pods, not with policies
    times pods times pods.
    """

    policies: Iterable[Object]
    namespace_labels: Mapping[str, Mapping[str, str]]
    peers: tuple[PodPeer, ...]
    _selected: dict[tuple[Any, ...], tuple[PodPeer, ...]] = field(default_factory=dict)
    _egress: dict[str, tuple[Reach, ...]] = field(default_factory=dict)

    @cached_property
    def _by_namespace(self) -> dict[str, list[Object]]:
        grouped: dict[str, list[Object]] = {}
        for policy in self.policies:
            grouped.setdefault(policy["metadata"]["namespace"], []).append(policy)
        return grouped

    def rules_for(self, pod: PodPeer) -> PodRules:
        """What the policies of the pod's namespace allow it."""
        ingress: list[Reach] | None = None
        egress: list[Reach] | None = None
        for policy in self._by_namespace.get(pod.namespace, []):
            spec = policy.get("spec") or {}
            if not _selector(spec.get("podSelector"), broken=EVERYTHING).matches(pod.labels):
                continue
            types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
            if "Ingress" in types:
                ingress = (ingress or []) + list(self._ingress_of(policy, pod))
            if "Egress" in types:
                egress = (egress or []) + list(self._egress_of(policy))
        return PodRules(_unique(ingress), _unique(egress))

    def _ingress_of(self, policy: Object, pod: PodPeer) -> Iterator[Reach]:
        namespace = policy["metadata"]["namespace"]
        for rule in (policy.get("spec") or {}).get("ingress") or []:
            ports = rule.get("ports")
            resolved = tuple(_resolve(ports, pod)) if ports else None
            if resolved == ():
                continue  # every port is a name that this pod does not have
            addresses, peers = self._peers_of(rule.get("from"), namespace)
            everything = union([*addresses, *(of_address(peer.address) for peer in peers)])
            if everything:
                yield Reach(everything, resolved)

    def _egress_of(self, policy: Object) -> tuple[Reach, ...]:
        key = f"{policy['metadata']['namespace']}/{policy['metadata']['name']}"
        if key not in self._egress:
            self._egress[key] = tuple(self._compile_egress(policy))
        return self._egress[key]

    def _compile_egress(self, policy: Object) -> Iterator[Reach]:
        namespace = policy["metadata"]["namespace"]
        for rule in (policy.get("spec") or {}).get("egress") or []:
            addresses, peers = self._peers_of(rule.get("to"), namespace)
            plain = union([*addresses, *(of_address(peer.address) for peer in peers if peer.only is None)])
            ports = rule.get("ports")
            if not ports:
                yield from _reaches(plain, None)
                for peer in peers:
                    if peer.only is not None:
                        yield Reach((of_address(peer.address),), peer.only)
                continue
            numbers = tuple(_numbers(ports))
            if numbers:
                yield from _reaches(plain, numbers)
                for peer in peers:
                    shared = tuple(_intersect(numbers, peer.only or ()))
                    if shared:
                        yield Reach((of_address(peer.address),), shared)
            # A name means another number in each pod: one reach for each number.
            named: dict[PortRange, list[PodPeer]] = {}
            for peer in peers if rule.get("to") else self.peers:
                for port in _resolve([port for port in ports if isinstance(port.get("port"), str)], peer):
                    named.setdefault(port, []).append(peer)
            for port, group in sorted(named.items()):
                yield Reach(union(of_address(peer.address) for peer in group), (port,))

    def _peers_of(self, peers: list[Object] | None, namespace: str) -> tuple[Intervals, tuple[PodPeer, ...]]:
        """The address blocks and the pods that a `from` or `to` means; absent or empty means everybody."""
        if not peers:
            return EVERYWHERE, ()
        blocks: list[tuple[int, int]] = []
        pods: list[PodPeer] = []
        for peer in peers:
            if peer.get("ipBlock"):
                blocks += _block(peer["ipBlock"])
            else:
                pods += self._select(peer.get("namespaceSelector"), peer.get("podSelector"), namespace)
        return union(blocks), tuple(pods)

    def _select(self, namespaces: Object | None, pods: Object | None, own: str) -> tuple[PodPeer, ...]:
        wanted_namespaces = None if namespaces is None else _selector(namespaces)
        wanted_pods = _selector(pods)
        key = (wanted_namespaces, wanted_pods, own if wanted_namespaces is None else "")
        if key not in self._selected:
            names = (
                {own}
                if wanted_namespaces is None
                else {name for name, labels in self.namespace_labels.items() if wanted_namespaces.matches(labels)}
            )
            self._selected[key] = tuple(
                peer for peer in self.peers if peer.namespace in names and wanted_pods.matches(peer.labels)
            )
        return self._selected[key]


def _selector(selector: Object | None, *, broken: LabelSelector = NOTHING) -> LabelSelector:
    """An absent or empty selector selects everything, in this API. One that cannot be read must not open anything."""
    try:
        return from_label_selector(selector or {})
    except ValueError as error:
        log.warning("a selector in a NetworkPolicy cannot be read", selector=selector, error=str(error))
        return broken


def _block(block: Object) -> Intervals:
    try:
        whole = of_cidr(block["cidr"])
    except ValueError:
        return ()  # an IPv6 block: no pod has such a peer
    holes = []
    for text in block.get("except") or []:
        try:
            holes.append(of_cidr(text))
        except ValueError:
            continue
    return subtract((whole,), holes)


def _numbers(ports: Iterable[Object]) -> Iterator[PortRange]:
    for port in ports:
        protocol, number = port.get("protocol") or "TCP", port.get("port")
        if number is None:
            yield PortRange(protocol, 0, _HIGHEST_PORT)
        elif isinstance(number, int):
            yield PortRange(protocol, number, int(port.get("endPort") or number))


def _resolve(ports: Iterable[Object], pod: PodPeer) -> Iterator[PortRange]:
    """Numbers as they are, and names as the pod's containers have them."""
    for port in ports:
        number = port.get("port")
        if not isinstance(number, str):
            yield from _numbers([port])
            continue
        for name, protocol, value in pod.named_ports:
            if name == number and protocol == (port.get("protocol") or "TCP"):
                yield PortRange(protocol, value, value)


def _intersect(left: Iterable[PortRange], right: tuple[PortRange, ...]) -> Iterator[PortRange]:
    for one in left:
        for other in right:
            first, last = max(one.first, other.first), min(one.last, other.last)
            if one.protocol == other.protocol and first <= last:
                yield PortRange(one.protocol, first, last)


def _reaches(addresses: Intervals, ports: tuple[PortRange, ...] | None) -> Iterator[Reach]:
    if addresses:
        yield Reach(addresses, ports)


def _unique(reaches: list[Reach] | None) -> tuple[Reach, ...] | None:
    return None if reaches is None else tuple(dict.fromkeys(reaches))
