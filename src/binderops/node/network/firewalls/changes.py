"""Who else changes the kernel's nftables rules: a socket that the kernel writes a message to for each change.

Messages as in linux/netlink.h and linux/netfilter/nf_tables.h. Own tables' changes, which come with each pod, are
passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Self

_NETFILTER, _GROUP, _SUBSYSTEM = 12, 7, 10  # NETLINK_NETFILTER, NFNLGRP_NFTABLES, NFNL_SUBSYS_NFTABLES
_TABLE_CHAIN_RULE = frozenset({0, 2, 3, 5, 6, 8})  # NFT_MSG_NEW… and NFT_MSG_DEL… of each; their attribute 1 is a table
_DELETED_TABLE = 2
_HEADER, _FAMILY, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBH"), struct.Struct("=HH")
_ALL = 1 << 16


class RuleChanges:
    """`event` is set whenever another's table, or the whole of `own`, was changed; a context manager."""

    def __init__(self, own: str) -> None:
        self.event = asyncio.Event()
        self._own = own
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
        self._socket.setblocking(False)
        self._socket.bind((0, 1 << (_GROUP - 1)))

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    data = self._socket.recv(_ALL)
                except BlockingIOError:
                    raise
                except OSError:  # more was said than the socket holds: something changed
                    self.event.set()
                    continue
                if any(self._concerns(*change) for change in changed_tables(data)):
                    self.event.set()

    def _concerns(self, kind: int, table: str) -> bool:
        return not table.startswith("binderops-") or (kind == _DELETED_TABLE and table == self._own)


def changed_tables(data: bytes) -> Iterator[tuple[int, str]]:
    """The kind of message and the table's name of each change of a table, chain or rule in a datagram."""
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if length < _HEADER.size:
            return
        message, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
        if kind >> 8 != _SUBSYSTEM or kind & 0xFF not in _TABLE_CHAIN_RULE:
            continue
        attributes = message[_FAMILY.size :]
        while len(attributes) >= _ATTRIBUTE.size:
            size, name = _ATTRIBUTE.unpack_from(attributes)
            if name == 1:
                text = attributes[_ATTRIBUTE.size : size].rstrip(b"\0")
                yield kind & 0xFF, text.decode("utf-8", "replace")
                break
            attributes = attributes[max((size + 3) & ~3, _ATTRIBUTE.size) :]
