"""Sets of IPv4 addresses as sorted, separate intervals of integers: what nftables' interval sets hold."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

Interval = tuple[int, int]
Intervals = tuple[Interval, ...]

EVERYWHERE: Intervals = ((0, 2**32 - 1),)


def union(parts: Iterable[Interval]) -> Intervals:
    """The intervals joined where they touch or overlap."""
    merged: list[Interval] = []
    for first, last in sorted(parts):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def subtract(intervals: Intervals, holes: Iterable[Interval]) -> Intervals:
    """The intervals without the holes."""
    rest = list(intervals)
    for low, high in holes:
        rest = [
            piece
            for first, last in rest
            for piece in ((first, min(last, low - 1)), (max(first, high + 1), last))
            if piece[0] <= piece[1]
        ]
    return union(rest)


def contains(intervals: Intervals, address: int) -> bool:
    """Whether one of the intervals holds the address."""
    index = bisect_right(intervals, (address, 2**32)) - 1
    return index >= 0 and intervals[index][0] <= address <= intervals[index][1]


def of_address(address: str) -> Interval:
    """One address."""
    number = int(IPv4Address(address))
    return number, number


def of_cidr(cidr: str) -> Interval:
    """A CIDR block; ValueError when it is not an IPv4 one."""
    network = IPv4Network(cidr, strict=False)
    return int(network.network_address), int(network.broadcast_address)


def to_text(interval: Interval) -> str:
    """As an element of an nftables set: an address, or a range of them."""
    first, last = (str(IPv4Address(number)) for number in interval)
    return first if first == last else f"{first}-{last}"
