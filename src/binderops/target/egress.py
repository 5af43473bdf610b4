"""Package indexes at private addresses: builds reach public ones only, so each such index is one narrow opening."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Network, ip_address
from urllib.parse import urlsplit

# The ranges that the chart's policy for users and builds keeps shut (mybinder/templates/netpol).
PRIVATE_RANGES = tuple(
    IPv4Network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
    )
)


def private_openings(urls: Iterable[str]) -> list[dict[str, object]]:
    """`[{cidr, port}]` for every address of these URLs' hosts that lies in a private range; unknown hosts are none."""
    found: set[tuple[str, int]] = set()
    for url in urls:
        parts = urlsplit(url)
        if parts.hostname:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            found |= {(address, port) for address in _addresses(parts.hostname, port)}
    return [{"cidr": f"{address}/32", "port": port} for address, port in sorted(found)]


def _addresses(host: str, port: int) -> Iterable[str]:
    try:
        told = socket.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except OSError:
        return
    for entry in told:
        address = ip_address(str(entry[4][0]))
        if any(address in network for network in PRIVATE_RANGES):
            yield str(address)
