"""firewalld rejects what its zones do not let through; sources in its zone `trusted` are let through.

They are added to what runs, not to its permanent settings: those are its operator's. A reload of it forgets them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from binderops.node.config import NodeConfig
from binderops.node.network.programs import run_program

_BUS = Path("/run/dbus/system_bus_socket")
_LEFT = "firewalld: unused chains of its zone `trusted`, which it keeps until its next reload (firewall-cmd --reload)"


class Firewalld:
    """Its zone `trusted` by its own program."""

    def __init__(self, config: NodeConfig) -> None:
        self._ranges = (config.pod_range, config.service_range)

    def missing(self) -> Iterator[tuple[str, ...]]:
        """The ranges that the zone lacks."""
        if not shutil.which("firewall-cmd") or self._in_force() or not _runs():
            return
        for cidr in self._ranges:
            if not _holds(cidr):
                yield ("firewall-cmd", "--zone=trusted", f"--add-source={cidr}")

    def remove(self) -> list[str]:
        """Takes the ranges away that its operator has not made permanent."""
        if not _runs():
            return []
        stays: list[str] = []
        for cidr in self._ranges:
            if _holds(cidr, "--permanent"):
                remove = f"firewall-cmd --permanent --zone=trusted --remove-source={cidr}"
                stays.append(f"firewalld: {cidr} in its zone `trusted`, where somebody made it permanent ({remove})")
            elif _holds(cidr):
                run_program(["firewall-cmd", "--zone=trusted", f"--remove-source={cidr}"])
                stays += [_LEFT] * (_LEFT not in stays)
        return stays

    def _in_force(self) -> bool:
        """By what the kernel has: its program takes a third of a second to say the same."""
        table = run_program(["nft", "list", "table", "inet", "firewalld"], check=False).stdout
        return all(f"ip saddr {cidr} goto filter_FWD_trusted" in table for cidr in self._ranges)


def _runs() -> bool:
    if not shutil.which("firewall-cmd") or not _BUS.exists():
        return False
    return run_program(["firewall-cmd", "--state"], check=False).returncode == 0


def _holds(cidr: str, *options: str) -> bool:
    query = ["firewall-cmd", *options, "--zone=trusted", f"--query-source={cidr}"]
    return run_program(query, check=False).returncode == 0
