"""The node's nftables table: what it should hold, as text, and the smallest change from what it holds.

One table per node, `ip binderops-NAME`. Base chains and maps are written once; each Service port has chains of its own
and elements in two verdict maps, so that a lookup costs the same for one Service and for thousands, and a change of
one Service's endpoints rewrites that Service's chains only. Every change is one transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from binderops.node.network.services import Backend, Frontend, ServicePort

ISOLATED = "isolated"
"""The set of the pods that the machine itself is closed to, but for what is named."""
REJECT = "reject with icmp type admin-prohibited"
"""What a client sees at once as "no route to host"."""

_BASE = """\
table ip {table} {{
  map services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map nodeports {{ type inet_proto . inet_service : verdict; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  set isolated {{ type ipv4_addr; }}
  set named {{ type ipv4_addr; }}
  chain translate {{
    ip daddr . meta l4proto . th dport vmap @services
    ip daddr != 127.0.0.0/8 fib daddr type local meta l4proto . th dport vmap @nodeports
  }}
  chain genuine {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{veth}*" fib saddr . iif oif missing drop comment "not the pod's own address"
    iifname != "{veth}*" iifname != "lo" ip daddr {{ {pods}, {services} }} drop comment "another node's pods"
  }}
  chain prerouting {{ type nat hook prerouting priority dstnat; policy accept; jump translate; }}
  chain output {{ type nat hook output priority -100; policy accept; jump translate; }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ct status dnat ip saddr . ip daddr @hairpin snat to {host} comment "a pod that reached itself by a Service"
    oifname "{veth}*" ip saddr != {host} fib saddr type local snat to {host} comment "the host by another address"
    ip saddr {pods} oifname != "{veth}*" oifname != "{bridge}" masquerade comment "what leaves the machine"
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    ip daddr {services} ip daddr != {host} reject comment "no such Service port, or no endpoint"
    oifname "{bridge}" reject with icmp type host-unreachable comment "no such pod"
  }}
  chain machine {{
    type filter hook input priority filter; policy accept;
    iifname != "{veth}*" accept
    ct state established,related accept
    ip daddr {host} accept comment "judged in the pod's own namespace"
    ip saddr @isolated ip daddr != @named {reject} comment "a block of addresses does not mean this machine"
  }}
  chain refuse {{
    type filter hook output priority filter; policy accept;
    ip daddr {services} ip daddr != {host} reject comment "no such Service port, or no endpoint"
  }}
}}
"""


@dataclass(frozen=True)
class Table:
    """What a table is called and which ranges and links its rules speak of."""

    name: str
    pod_range: str
    service_range: str
    host_address: str
    bridge: str
    veth_prefix: str

    def base(self) -> str:
        """The script that makes the table anew, without any Service."""
        return f"add table ip {self.name}\ndelete table ip {self.name}\n" + _BASE.format(
            table=self.name,
            pods=self.pod_range,
            services=self.service_range,
            host=self.host_address,
            bridge=self.bridge,
            veth=self.veth_prefix,
            reject=REJECT,
        )


@dataclass(frozen=True)
class Closed:
    """Who may not reach the machine at its own addresses, bridge and Services apart, and what is excepted.

    A policy that allows a block of addresses (the public ones, say) means other machines. Its own address it must name.
    """

    isolated: frozenset[str] = frozenset()
    """Addresses of pods that a policy for egress selects."""
    named: frozenset[str] = frozenset()
    """Single addresses that policies allow."""


@dataclass(frozen=True)
class Ruleset:
    """The variable part of the table. Dictionaries are in the order in which things must be declared."""

    sets: Mapping[str, str] = field(default_factory=dict)
    """Set name to its declaration."""
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Chain name to its rules; a chain comes after those that it goes to."""
    elements: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(map or set, key) to the verdict, or "" in a set."""


def isolation(table: str, address: str) -> str:
    """The script that closes the machine to one pod, whether the table is there already or not."""
    return (
        f"add table ip {table}\nadd set ip {table} {ISOLATED} {{ type ipv4_addr; }}\n"
        f"add element ip {table} {ISOLATED} {{ {address} }}\n"
    )


def build_ruleset(
    ports: Iterable[ServicePort],
    published: Mapping[Frontend, ServicePort],
    pod_addresses: Iterable[str],
    closed: Closed = Closed(),
) -> Ruleset:
    """The rules for these Service ports, for the load balancer addresses in `published`, and for hairpin.

    A Service port without endpoints has no element: the packet keeps the Service's address and is rejected.
    """
    sets: dict[str, str] = {}
    chains: dict[str, tuple[str, ...]] = {}
    elements: dict[tuple[str, str], str] = {}
    for port in ports:
        if not port.backends:
            continue
        chain = _add_service(port, sets, chains)
        elements["services", _element(port.cluster_frontend)] = f"goto {chain}"
        if port.node_port:
            elements["nodeports", f"{port.protocol.lower()} . {port.node_port}"] = f"goto {chain}"
        for frontend, owner in published.items():
            if owner is port or owner == port:
                elements["services", _element(frontend)] = f"goto {_add_filter(port, chain, chains)}"
    for address in pod_addresses:
        elements["hairpin", f"{address} . {address}"] = ""
    elements |= {(ISOLATED, address): "" for address in sorted(closed.isolated)}
    elements |= {("named", address): "" for address in sorted(closed.named)}
    return Ruleset(sets, chains, elements)


def difference(table: str, old: Ruleset, new: Ruleset) -> str:
    """The script that turns a table with `old` into one with `new`; empty when they are equal."""
    lines = []
    for (owner, key), verdict in old.elements.items():
        if new.elements.get((owner, key)) != verdict:
            lines.append(f"delete element ip {table} {owner} {{ {key} }}")
    lines += [f"add set ip {table} {name} {text}" for name, text in new.sets.items() if old.sets.get(name) != text]
    # Rules that go to a chain must be gone before the chain, and a chain must be there before rules that go to it.
    gone = [name for name in old.chains if name not in new.chains]
    changed = [name for name, rules in new.chains.items() if old.chains.get(name) != rules]
    lines += [f"flush chain ip {table} {name}" for name in [*gone, *(name for name in changed if name in old.chains)]]
    lines += [f"add chain ip {table} {name}" for name in changed if name not in old.chains]
    for name in changed:
        lines += [f"add rule ip {table} {name} {rule}" for rule in new.chains[name]]
    lines += [f"delete chain ip {table} {name}" for name in gone]
    lines += [f"delete set ip {table} {name}" for name in old.sets if name not in new.sets]
    for (owner, key), verdict in new.elements.items():
        if old.elements.get((owner, key)) != verdict:
            lines.append(f"add element ip {table} {owner} {{ {key}{' : ' + verdict if verdict else ''} }}")
    return "".join(f"{line}\n" for line in lines)


def _add_service(port: ServicePort, sets: dict[str, str], chains: dict[str, tuple[str, ...]]) -> str:
    """Add the chains of one Service port; returns the one to go to."""
    name = f"svc-{_digest(port.namespace, port.service, port.protocol, str(port.port))}"
    protocol = f"meta l4proto {port.protocol.lower()}"
    comment = f'comment "{port.identity[:110]}"'
    count = len(port.backends)
    if not port.affinity_seconds:
        choices = ", ".join(f"{i} : {backend.address} . {backend.port}" for i, backend in enumerate(port.backends))
        chains[name] = (f"{protocol} dnat ip to numgen random mod {count} map {{ {choices} }} {comment}",)
        return name
    remembered, gotos = [], []
    for index, backend in enumerate(port.backends):
        endpoint = f"{name}-{_digest(backend.address, str(backend.port))}"
        sets[f"{endpoint}-{port.affinity_seconds}"] = (
            f"{{ type ipv4_addr; flags dynamic,timeout; timeout {port.affinity_seconds}s; size 65535; }}"
        )
        chains[endpoint] = (
            f"update @{endpoint}-{port.affinity_seconds} {{ ip saddr }}",
            f"{protocol} dnat ip to {_target(backend)} {comment}",
        )
        remembered.append(f"ip saddr @{endpoint}-{port.affinity_seconds} goto {endpoint}")
        gotos.append(f"{index} : goto {endpoint}")
    chains[name] = (*remembered, f"numgen random mod {count} vmap {{ {', '.join(gotos)} }}")
    return name


def _add_filter(port: ServicePort, chain: str, chains: dict[str, tuple[str, ...]]) -> str:
    """For loadBalancerSourceRanges: others pass untranslated, and find nobody listening."""
    if not port.source_ranges:
        return chain
    name = f"{chain}-sources"
    chains[name] = (f"ip saddr {{ {', '.join(port.source_ranges)} }} goto {chain}",)
    return name


def _element(frontend: Frontend) -> str:
    return f"{frontend.address} . {frontend.protocol.lower()} . {frontend.port}"


def _target(backend: Backend) -> str:
    return f"{backend.address}:{backend.port}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:12]
