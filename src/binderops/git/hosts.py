"""Which hosts git may ask for strangers: public ones, and those at private addresses that the operator names.

A stranger who names a repository names a host. Names are resolved here, once, and git connects to what was found and
judged, never to what the name means a moment later.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from binderops.errors import GitError

Address = IPv4Address | IPv6Address

_RESOLVE_SECONDS = 5.0
# Resolvers read 127.1, 0x7f.1 and 2130706433 as addresses, each in its own way (WHATWG URL, "ends in a number").
_ENDS_IN_A_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$")
# Threads of our own: names that are slow to resolve keep nothing else of the program from resolving.
_RESOLVERS = ThreadPoolExecutor(max_workers=16, thread_name_prefix="resolve")

# IANA's special-purpose registries (RFC 6890) and the address at which Azure answers about a machine. The documentation
# ranges are open: they lead nowhere, and stand for the outside in tests and examples.
_CLOSED_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16",
            "172.16.0.0/12", "192.0.0.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)  # fmt: skip
# Of IPv6 only what is given out as global unicast addresses, without the transition ranges that hold an IPv4 address.
_OPEN_V6 = IPv6Network("2000::/3")
_CLOSED_V6 = (IPv6Network("2001::/23"), IPv6Network("2002::/16"))


@dataclass(frozen=True)
class InternalHost:
    """A host at private addresses that strangers may name all the same: by this name, at these addresses."""

    host: str
    network: IPv4Network | IPv6Network

    def admits(self, host: str, address: Address) -> bool:
        """Whether this is the host that was named, and one of its addresses."""
        return host == self.host.lower() and address in self.network


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public network: not to this machine, its neighbours, a cluster or a cloud."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)
    return not any(address in network for network in _CLOSED_V4)


async def addresses_of(
    host: str, internal: Sequence[InternalHost] = (), *, by_proxy: bool = False
) -> tuple[Address, ...]:
    """The addresses of a host that may be asked; raises GitError where there are none.

    Where a proxy makes the connection (`by_proxy`), a name that only the proxy can resolve gives (). There is one text
    for all reasons: whether an internal name exists is nothing that strangers should learn.
    """
    host = host.lower()
    if _ENDS_IN_A_NUMBER.search(host) and not _is_address(host):
        raise GitError(f"{host} is no host's name", where=host, why="it ends in a number, and is no address")
    found, why = await _resolve(host)
    if by_proxy and not found:
        return ()
    allowed = tuple(
        address for address in found if is_public(address) or any(entry.admits(host, address) for entry in internal)
    )
    if not allowed:
        raise GitError(
            f"the host {host} has no public address",
            where=host,
            why=why or f"it is at {', '.join(map(str, found))}",
            hint="an operator admits a host of their own in binderhub.networkPolicy.egress.internalHosts",
        )
    return allowed


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _resolve(host: str) -> tuple[tuple[Address, ...], str]:
    """What the machine's resolver says, and why it says nothing."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            answers = await loop.run_in_executor(
                _RESOLVERS, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            )
    except TimeoutError:
        return (), f"its name was not resolved within {_RESOLVE_SECONDS:.0f} s"
    except (OSError, UnicodeError) as error:
        return (), f"its name cannot be resolved: {error}"
    texts = dict.fromkeys(str(answer[4][0]).partition("%")[0] for answer in answers)
    return tuple(ipaddress.ip_address(text) for text in texts), ""
