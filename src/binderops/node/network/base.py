"""What stands before the first pod: the bridge with the host's address, the routes of both ranges, forwarding.

The bridge is empty for ever. It holds `bridge_address` (the host as pods see it), and both ranges are routed to it, so
that a packet to a Service or a pod that does not exist ends here instead of leaving the machine by the default route.
Pods that exist have longer routes of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
from ipaddress import IPv4Network

import structlog

from binderops.errors import NetworkError
from binderops.node.config import NodeConfig
from binderops.node.network import firewalls, forwarding, links
from binderops.node.network.firewalls import docker
from binderops.node.network.names import is_bridge, node_table
from binderops.node.network.programs import ip_batch, ip_json, nft, run_program
from binderops.node.network.sysctls import SysctlRecord, write_sysctls

log = structlog.get_logger(__name__)

_FORWARDING = "net/ipv4/ip_forward"


async def ensure_base(config: NodeConfig) -> None:
    """Make bridge, routes and kernel settings, or find them made. NetworkError when the machine cannot do it.

    Called before anything binds to `config.bridge_address`.
    """
    await asyncio.to_thread(_ensure_base, config)


async def teardown(config: NodeConfig) -> list[str]:
    """Remove everything that this room made: forwarder, namespaces, veths, table, bridge, accepts, kernel settings.

    Idempotent; what is not there is passed over. Pods must be stopped before: their namespaces go. Returns what stays
    with others, in words.
    """
    with contextlib.suppress(NetworkError):
        await forwarding.stop_forwarder(config)
    return await asyncio.to_thread(_teardown, config)


def _ensure_base(config: NodeConfig) -> None:
    if not ip_json("link", "show", "dev", config.bridge):
        ip_batch([f"link add {config.bridge} type bridge"])
    write_sysctls(
        {
            # No IPv6 on any of our links: pods must not reach the host's services by link-local addresses.
            f"net/ipv6/conf/{config.bridge}/disable_ipv6": "1",
            # An interface's own setting counts together with `all`: forwarding stays on what is ours and what is there.
            f"net/ipv4/conf/{config.bridge}/forwarding": "1",
        }
    )
    length = IPv4Network(config.service_range).prefixlen
    ip_batch(
        [
            f"link set {config.bridge} up",
            f"address replace {config.bridge_address}/{length} dev {config.bridge} noprefixroute",
            f"route replace {config.service_range} dev {config.bridge} src {config.bridge_address}",
            f"route replace {config.pod_range} dev {config.bridge} src {config.bridge_address}",
        ]
    )
    SysctlRecord().change({_FORWARDING: "1"})
    # What pods' user namespaces take counts for root too; each has its own limit (podman/hooks.py).
    SysctlRecord().raise_to({"fs/inotify/max_user_instances": 8192, "fs/inotify/max_user_watches": 1 << 20})
    firewalls.add_accepts(config)


def _teardown(config: NodeConfig) -> list[str]:
    for names in links.namespaces_of(config.name):
        links.remove(names)
    links.remove_stray_links(config.name)
    with contextlib.suppress(NetworkError):
        nft(f"delete table ip {node_table(config.name)}\n")
    run_program(["ip", "link", "delete", config.bridge], check=False)
    stays = firewalls.remove_accepts(config)
    stays += _restore_settings()
    log.info("network removed", node=config.name, stays=stays)
    return stays


def _restore_settings() -> list[str]:
    if docker.forwards():  # it found forwarding on, and would have switched it on
        return [
            f"{name} = {value}: Docker forwards too"
            for name, value in SysctlRecord().restore(but={_FORWARDING}, unless=_others_run).items()
        ]
    SysctlRecord().restore(unless=_others_run)
    return []


def _others_run() -> bool:
    """Whether a node is left, or has begun: its bridge is made before it changes a setting."""
    return any(is_bridge(str(link["ifname"])) for link in ip_json("link", "show", "type", "bridge"))
