"""Who listens on a port of this machine: read from /proc, to be named in an Event."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path

_LISTEN = "0A"


def find_holder(address: str, port: int) -> str | None:
    """The listener that keeps `address:port` (TCP) from others, as "nginx (process 812)"; None when nobody does.

    A listener on the wildcard address holds every address of its family, and one on `::` IPv4 ones as well.
    """
    wanted = ip_address(address)
    wildcards = {"::"} if isinstance(wanted, IPv6Address) else {"0.0.0.0", "::"}
    for local, number, inode in _listeners():
        if number == port and local in {str(wanted), *wildcards}:
            return _process_of(inode) or "a process of another namespace"
    return None


def _listeners() -> Iterator[tuple[str, int, str]]:
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", name).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN:
                    encoded, port = fields[1].split(":")
                    yield _decode(encoded), int(port, 16), fields[9]


def _decode(encoded: str) -> str:
    """The kernel prints addresses as 32-bit words in the machine's byte order."""
    words = [int(encoded[index : index + 8], 16) for index in range(0, len(encoded), 8)]
    raw = struct.pack(f"={len(words)}I", *words)
    text = socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)
    return str(ip_address(text))


def _process_of(inode: str) -> str | None:
    link = f"socket:[{inode}]"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (entry / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) == link:
                        name = (entry / "comm").read_text(encoding="utf-8", errors="replace").strip()
                        return f"{name} (process {entry.name})"
    return None
