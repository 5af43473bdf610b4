"""Docker drops what it does not forward itself; its chain DOCKER-USER is asked first, and is its operator's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from binderops.node.config import NodeConfig
from binderops.node.network.names import veth_prefix
from binderops.node.network.programs import run_program

_LEGACY_TABLES = Path("/proc/net/ip_tables_names")


class Docker:
    """Its rules in the kernel; the daemon is not asked."""

    def __init__(self, config: NodeConfig) -> None:
        comment = ("-m", "comment", "--comment", f"binderops-{config.name}")
        self._rules = tuple((flag, f"{veth_prefix(config.name)}+", *comment, "-j", "ACCEPT") for flag in ("-i", "-o"))

    def missing(self) -> Iterator[tuple[str, ...]]:
        """The accepts that the chain lacks."""
        for program in _programs():
            for rule in self._rules:
                if not _present(program, rule):
                    yield (program, "-w", "5", "-I", "DOCKER-USER", *rule)

    def remove(self) -> list[str]:
        """Takes the accepts away; nothing stays."""
        for program in _programs():
            for rule in self._rules:
                while _present(program, rule):
                    run_program([program, "-w", "5", "-D", "DOCKER-USER", *rule])
        return []


def forwards() -> bool:
    """Whether a Docker relies on this machine's forwarding."""
    return any(_programs())


def legacy_filters() -> bool:
    """Whether there are rules of iptables-legacy, which tell nobody when they change."""
    return _LEGACY_TABLES.exists() and "filter" in _LEGACY_TABLES.read_text(encoding="ascii").split()


def _present(program: str, rule: tuple[str, ...]) -> bool:
    return run_program([program, "-w", "5", "-C", "DOCKER-USER", *rule], check=False).returncode == 0


def _programs() -> Iterator[str]:
    """Those whose tables have the chain. Asked so that asking makes nothing: `-S` would create the legacy tables."""
    nft_chain = ["nft", "list", "chain", "ip", "filter", "DOCKER-USER"]
    if shutil.which("iptables-nft") and run_program(nft_chain, check=False).returncode == 0:
        yield "iptables-nft"
    legacy_chain = ["iptables-legacy", "-w", "5", "-S", "DOCKER-USER"]
    there = shutil.which("iptables-legacy") and legacy_filters()
    if there and run_program(legacy_chain, check=False).returncode == 0:
        yield "iptables-legacy"
