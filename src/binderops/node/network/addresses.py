"""Which address a new pod gets.

Addresses go round the range: one that was given back comes again only after all others had their turn, since clients,
connection tracking and DNS caches still know it as somebody else's. Nothing is stored: which addresses are taken is
read from the interfaces, and a restarted node begins at a random place.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from binderops.errors import NetworkError


class AddressPool:
    """The addresses of one range, without its first and its last."""

    def __init__(self, cidr: str, taken: Iterable[str] = (), *, start: int | None = None) -> None:
        network = IPv4Network(cidr)
        self._range = cidr
        self._first = int(network.network_address) + 1
        self._size = max(network.num_addresses - 2, 0)
        self._taken = {int(IPv4Address(address)) - self._first for address in taken}
        self._next = (secrets.randbelow(self._size) if start is None else start) if self._size else 0

    def allocate(self) -> str:
        """Take the next free address; NetworkError when none is left."""
        for step in range(self._size):
            offset = (self._next + step) % self._size
            if offset not in self._taken:
                self._taken.add(offset)
                self._next = (offset + 1) % self._size
                return str(IPv4Address(self._first + offset))
        raise NetworkError(
            "there is no free pod address",
            where=self._range,
            why=f"all {self._size} are in use",
            hint="delete pods, or make the node anew with a larger --pod-range",
        )

    def release(self, address: str) -> None:
        """Give an address back; one that is not taken is left alone."""
        self._taken.discard(int(IPv4Address(address)) - self._first)
