"""A pod's NetworkPolicies as an nftables table inside the pod's own network namespace.

Inside, because a container there without NET_ADMIN over the namespace (one in a user namespace of its own never has
it) cannot change them, and because both directions pass one place. Established connections, loopback, and what comes
from the host (`bridge_address`: probes, and what the host forwards to a published port) always pass.

**Egress to a Service.** Policies speak of pods, but a packet to a Service's address is translated on the host, after
it has left this namespace. So addresses of Services (the service range, node ports, published ports) are judged by
their endpoints, never by address blocks that happen to hold them: where the rules allow every endpoint of a Service
port, its address is in the set `allowed`; where they allow some, this namespace translates the address itself, to
those only; else it is rejected. The sets follow the endpoints.

Limit: frames that a process writes to a packet socket (CAP_NET_RAW in the pod) do not pass the output hook; the host
end drops foreign source addresses, no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from binderops.node.network.intervals import EVERYWHERE, of_address, to_text
from binderops.node.network.names import POD_TABLE
from binderops.node.network.policies import PodRules, PortRange, Reach
from binderops.node.network.ruleset import REJECT
from binderops.node.network.services import Backend, Frontend, ServicePort

_EMPTY = f"add table ip {POD_TABLE}\ndelete table ip {POD_TABLE}\n"

OPEN = (
    _EMPTY
    + f"""\
table ip {POD_TABLE} {{
  chain track {{ type filter hook input priority filter; policy accept; ct state established accept; }}
}}
"""
)
"""The script for a pod that nothing isolates. Its one rule makes the kernel track connections in this namespace, so
that those which are open when the first policy comes are known as established."""

_PROLOGUE = 'ct state established,related accept\n    {link} "lo" accept'


@dataclass(frozen=True)
class ServiceAccess:
    """Which Service addresses a pod may use: wholly, or to some endpoints only."""

    whole: frozenset[Frontend] = frozenset()
    partial: Mapping[Frontend, tuple[Backend, ...]] = field(default_factory=dict)


def service_access(egress: Sequence[Reach], frontends: Mapping[Frontend, ServicePort]) -> ServiceAccess:
    """Judge each Service address by the endpoints behind it."""
    whole: set[Frontend] = set()
    partial: dict[Frontend, tuple[Backend, ...]] = {}
    if any(reach.addresses == EVERYWHERE and reach.ports is None for reach in egress):
        return ServiceAccess(frozenset(frontends))
    for frontend, port in frontends.items():
        allowed = tuple(
            backend
            for backend in port.backends
            if any(reach.allows(of_address(backend.address)[0], port.protocol, backend.port) for reach in egress)
        )
        if not allowed:
            continue
        if allowed == port.backends:
            whole.add(frontend)
        else:
            partial[frontend] = allowed
    return ServiceAccess(frozenset(whole), partial)


@dataclass(frozen=True)
class Surroundings:
    """What the rules of every pod of a node share."""

    host_address: str
    service_range: str
    outer_frontends: tuple[Frontend, ...] = ()
    """Service addresses outside the service range: node ports and published ports on the host's addresses."""


def render(rules: PodRules, access: ServiceAccess, around: Surroundings) -> str:
    """The script that replaces a pod's table, as one transaction; `OPEN` for a pod that nothing isolates."""
    if rules.ingress is None and rules.egress is None:
        return OPEN
    body: list[str] = []
    if rules.ingress is not None:
        body += _ingress(rules.ingress, around)
    if rules.egress is not None:
        body += _egress(rules.egress, access, around)
    return _EMPTY + f"table ip {POD_TABLE} {{\n" + "\n".join(body) + "\n}\n"


def _ingress(reaches: Sequence[Reach], around: Surroundings) -> list[str]:
    sets, lines = _accepts("in", "saddr", reaches)
    return [
        *sets,
        "  chain input {",
        "    type filter hook input priority filter; policy accept;",
        "    " + _PROLOGUE.format(link="iif"),
        f"    ip saddr {around.host_address} accept",
        *lines,
        f"    {REJECT}",
        "  }",
    ]


def _egress(reaches: Sequence[Reach], access: ServiceAccess, around: Surroundings) -> list[str]:
    sets, lines = _accepts("out", "daddr", reaches)
    return [
        *sets,
        *_frontend_set("frontends", around.outer_frontends),
        *_frontend_set("allowed", access.whole),
        "  chain to_service {",
        "    ip daddr . meta l4proto . th dport @allowed accept",
        f"    {REJECT}",
        "  }",
        *_translate(access.partial),
        "  chain output {",
        "    type filter hook output priority filter; policy accept;",
        "    " + _PROLOGUE.format(link="oif"),
        f"    ip daddr {around.service_range} ip daddr != {around.host_address} goto to_service",
        "    ip daddr . meta l4proto . th dport @frontends goto to_service",
        *lines,
        f"    {REJECT}",
        "  }",
    ]


def _accepts(prefix: str, field_name: str, reaches: Sequence[Reach]) -> tuple[list[str], list[str]]:
    """The address sets, and one accept rule for each reach and protocol."""
    sets, lines = [], []
    for index, reach in enumerate(reaches):
        match = ""
        if reach.addresses != EVERYWHERE:
            elements = ", ".join(map(to_text, reach.addresses))
            sets.append(f"  set {prefix}{index} {{ type ipv4_addr; flags interval; elements = {{ {elements} }}; }}")
            match = f"ip {field_name} @{prefix}{index} "
        if reach.ports is None:
            lines.append(f"    {match}accept")
            continue
        for protocol in sorted({port.protocol for port in reach.ports}):
            numbers = _port_elements(port for port in reach.ports if port.protocol == protocol)
            lines.append(f"    {match}{protocol.lower()} dport {{ {numbers} }} accept")
    return sets, lines


def _port_elements(ports: Iterable[PortRange]) -> str:
    merged: list[tuple[int, int]] = []
    for first, last in sorted((port.first, port.last) for port in ports):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in merged)


def _frontend_set(name: str, frontends: Iterable[Frontend]) -> list[str]:
    elements = ", ".join(f"{f.address} . {f.protocol.lower()} . {f.port}" for f in sorted(frontends))
    filled = f" elements = {{ {elements} }};" if elements else ""
    return [f"  set {name} {{ type ipv4_addr . inet_proto . inet_service;{filled} }}"]


def _translate(partial: Mapping[Frontend, tuple[Backend, ...]]) -> list[str]:
    if not partial:
        return []
    lines = ["  chain translate {", "    type nat hook output priority -100; policy accept;"]
    for frontend, backends in sorted(partial.items()):
        choices = ", ".join(f"{index} : {backend.address} . {backend.port}" for index, backend in enumerate(backends))
        lines.append(
            f"    ip daddr {frontend.address} {frontend.protocol.lower()} dport {frontend.port}"
            f" dnat ip to numgen random mod {len(backends)} map {{ {choices} }}"
        )
    return [*lines, "  }"]
