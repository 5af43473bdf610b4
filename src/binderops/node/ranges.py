"""Choosing a pod range and a service range that nothing on this machine uses."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from itertools import chain
from pathlib import Path

from binderops.errors import MachineError

_COMMAND_TIMEOUT = 5.0  # seconds; reading the routing table takes milliseconds
_HALF = 20  # each range is a /20: 4094 addresses
# The first block is ours by habit (docs show it); the others are seldom used by home and company networks. All are of
# RFC 1918: the NetworkPolicies of charts let pods ask DNS there, and keep them from everything else there.
_BLOCKS = ("10.77.0.0/16", "10.78.0.0/15", "10.80.0.0/12", "172.24.0.0/13", "192.168.128.0/17")


def choose_ranges(taken: Iterable[IPv4Network]) -> tuple[IPv4Network, IPv4Network]:
    """Return (pod range, service range): two neighbouring /20 that overlap none of `taken`.

    Raises MachineError when every block that is tried is in use.
    """
    used = list(taken)
    for pair in _candidates():
        if not any(pair.overlaps(network) for network in used):
            pods, services = pair.subnets(new_prefix=_HALF)
            return pods, services
    raise MachineError(
        "no address range is free for pods and Services",
        why=f"routes or addresses of this machine overlap all of {', '.join(_BLOCKS)}",
        hint="name two ranges yourself: --pod-range and --service-range",
    )


def networks_in_use(*, ignore_device: str | None = None) -> list[IPv4Network]:
    """Return what this machine routes or has addresses in, without the default route and `ignore_device`'s own."""
    try:
        output = subprocess.run(
            ["ip", "-j", "-4", "route", "show", "table", "all"],
            capture_output=True,
            check=True,
            timeout=_COMMAND_TIMEOUT,
        ).stdout
        return list(parse_routes(json.loads(output), ignore_device=ignore_device))
    except (OSError, subprocess.SubprocessError, ValueError):
        # Without iproute2 the kernel's own table still names the routes of the main table.
        text = Path("/proc/net/route").read_text(encoding="ascii")
        return list(parse_proc_routes(text, ignore_device=ignore_device))


def parse_routes(routes: Sequence[dict[str, object]], *, ignore_device: str | None = None) -> Iterator[IPv4Network]:
    """Yield the destinations of `ip -j route`'s answer."""
    for route in routes:
        if ignore_device and route.get("dev") == ignore_device:
            continue
        try:
            network = IPv4Network(str(route.get("dst")), strict=False)
        except (AddressValueError, NetmaskValueError, ValueError):
            continue  # "default"
        if network.prefixlen:
            yield network


def parse_proc_routes(text: str, *, ignore_device: str | None = None) -> Iterator[IPv4Network]:
    """Yield the destinations of /proc/net/route (hexadecimal, in the machine's byte order)."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or (ignore_device and fields[0] == ignore_device):
            continue
        address, mask = (IPv4Address(struct.pack("=L", int(fields[i], 16))) for i in (1, 7))
        if int(mask):
            yield IPv4Network(f"{socket.inet_ntoa(address.packed)}/{mask}", strict=False)


def _candidates() -> Iterator[IPv4Network]:
    return chain.from_iterable(IPv4Network(block).subnets(new_prefix=_HALF - 1) for block in _BLOCKS)
