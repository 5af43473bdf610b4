"""A pod's link: a network namespace, a veth pair, an address of its own (/32), and a route to it on the host.

Routed, not bridged: a packet between two pods passes the host's forwarding, so that address translation and replies
meet there whether or not br_netfilter is loaded, and the true source stays. The gateway 169.254.1.1 stands on no
interface; both ends know each other by static neighbour entries, no ARP is asked or answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from binderops.node.network.names import (
    GATEWAY,
    GATEWAY_MAC,
    NAMESPACES,
    POD_INTERFACE,
    PodNames,
    alias_of,
    is_namespace_of,
    parse_alias,
    veth_prefix,
)
from binderops.node.network.programs import ip_batch, ip_json, run_program
from binderops.node.network.sysctls import write_sysctls

DEFAULT_MTU = 1500


def outgoing_mtu() -> int:
    """The MTU of the link that the default route takes (bytes), 1500 where there is none."""
    for route in ip_json("-4", "route", "show", "default"):
        for link in ip_json("link", "show", "dev", str(route.get("dev", "lo"))):
            return int(link.get("mtu", DEFAULT_MTU))
    return DEFAULT_MTU


def create(names: PodNames, address: str, *, host_address: str, mtu: int) -> None:
    """Make the namespace and both ends, addressed and routed; what a killed attempt left behind goes first."""
    if names.path.exists() or Path("/sys/class/net", names.veth).exists():
        remove(names)
    pod_mac = "02:" + ":".join(f"{int(part):02x}" for part in ["0", *address.split(".")])
    ip_batch(
        [
            f"netns add {names.namespace}",
            f"link add {names.veth} address {GATEWAY_MAC} mtu {mtu} type veth"
            f" peer name {POD_INTERFACE} address {pod_mac} mtu {mtu} netns {names.namespace}",
        ]
    )
    write_sysctls(
        {
            f"net/ipv6/conf/{names.veth}/disable_ipv6": "1",
            f"net/ipv4/conf/{names.veth}/forwarding": "1",
            # Strict: a pod sends from its own address only. (Where `all` is loose, the node's table sees to it.)
            f"net/ipv4/conf/{names.veth}/rp_filter": "1",
        }
    )
    ip_batch(
        [
            f"link set {names.veth} up",
            f"neighbour replace {address} lladdr {pod_mac} dev {names.veth} nud permanent",
            f"route replace {address}/32 dev {names.veth} scope link src {host_address}",
        ]
    )


def configure_inside(address: str) -> None:
    """Bring up loopback and eth0; called in a thread that is in the pod's namespace."""
    ip_batch(
        [
            "link set lo up",
            f"link set {POD_INTERFACE} addrgenmode none",  # no IPv6 address: only ::1 works inside a pod
            f"address add {address}/32 dev {POD_INTERFACE}",
            f"link set {POD_INTERFACE} up",
            f"neighbour add {GATEWAY} lladdr {GATEWAY_MAC} dev {POD_INTERFACE} nud permanent",
            f"route add {GATEWAY} dev {POD_INTERFACE} scope link",
            f"route add default via {GATEWAY} dev {POD_INTERFACE} src {address}",
        ]
    )
    # As containerd has it by default: programs that are not root listen on 80 and ping.
    write_sysctls({"net/ipv4/ip_unprivileged_port_start": "0", "net/ipv4/ping_group_range": "0 2147483647"})


def mark_done(names: PodNames, uid: str, address: str) -> None:
    """Write whose link it is: from here on a restarted node finds it."""
    ip_batch([f'link set {names.veth} alias "{alias_of(uid, address)}"'])


def remove(names: PodNames) -> None:
    """Remove both ends, the route and the namespace; what is not there is passed over."""
    ip_batch([f"link delete {names.veth}", f"netns delete {names.namespace}"], force=True)


def namespaces_of(node: str) -> Iterator[PodNames]:
    """The names of every pod network of a node that has a namespace, finished or half made."""
    if not NAMESPACES.is_dir():
        return
    for path in sorted(NAMESPACES.iterdir()):
        if is_namespace_of(node, path.name):
            yield PodNames(path.name, veth_prefix(node) + path.name[-8:])


def finished(node: str) -> dict[str, tuple[PodNames, str]]:
    """The finished pod networks of a node: by uid, their names and address."""
    names_by_veth = {names.veth: names for names in namespaces_of(node)}
    found = {}
    for link in ip_json("link", "show", "type", "veth"):
        names = names_by_veth.get(link.get("ifname", ""))
        owner = parse_alias(link.get("ifalias", ""))
        if names and owner:
            found[owner[0]] = (names, owner[1])
    return found


def remove_stray_links(node: str) -> None:
    """Remove host ends whose namespace is gone."""
    for link in ip_json("link", "show", "type", "veth"):
        if str(link.get("ifname", "")).startswith(veth_prefix(node)):
            run_program(["ip", "link", "delete", link["ifname"]], check=False)
