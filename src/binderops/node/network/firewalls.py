"""A guest on the machine: where another firewall drops forwarded packets, its documented accept rules are added.

An accept in our own table does not override a drop in another's (each table has its say), so the accepts go where the
other firewall wants them: Docker's chain DOCKER-USER, `ufw route allow`, firewalld's zone `trusted`. They carry the
node's name, are added once, and are removed at teardown. A firewall that is not there, or off, is left alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from binderops.node.config import NodeConfig
from binderops.node.network.names import veth_prefix
from binderops.node.network.programs import run_program

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Accept:
    """One rule in another's firewall: how to see it, to add it, to take it away."""

    check: tuple[str, ...]
    add: tuple[str, ...]
    remove: tuple[str, ...]
    shown: str = ""
    """Text that `check` prints when the rule is there; "" when its exit code tells."""


def add_accepts(config: NodeConfig) -> None:
    """Add what is missing. A firewall's refusal is logged, not raised: its operator may have closed it on purpose."""
    for accept in _accepts(config):
        if not _present(accept):
            done = run_program(accept.add, check=False)
            if done.returncode != 0:
                log.warning("an accept rule could not be added", rule=" ".join(accept.add), why=done.stderr.strip())


def remove_accepts(config: NodeConfig) -> None:
    """Remove what was added."""
    for accept in _accepts(config):
        if _present(accept):
            run_program(accept.remove, check=False)


def _present(accept: Accept) -> bool:
    done = run_program(accept.check, check=False)
    return done.returncode == 0 and accept.shown in done.stdout


def _accepts(config: NodeConfig) -> Iterator[Accept]:
    yield from _docker(config)
    yield from _ufw(config)
    yield from _firewalld(config)


def _docker(config: NodeConfig) -> Iterator[Accept]:
    for program in ("iptables-nft", "iptables-legacy"):
        if not shutil.which(program) or not _has_docker_chain(program):
            continue
        for flag in ("-i", "-o"):
            rule = (flag, f"{veth_prefix(config.name)}+", "-m", "comment", "--comment", f"binderops-{config.name}")
            base = (program, "-w", "5")
            yield Accept(
                check=(*base, "-C", "DOCKER-USER", *rule, "-j", "ACCEPT"),
                add=(*base, "-I", "DOCKER-USER", *rule, "-j", "ACCEPT"),
                remove=(*base, "-D", "DOCKER-USER", *rule, "-j", "ACCEPT"),
            )


def _has_docker_chain(program: str) -> bool:
    """Asked so that nothing is loaded or made by asking: `iptables-legacy -S` would create the legacy tables."""
    if program == "iptables-nft":
        return run_program(["nft", "list", "chain", "ip", "filter", "DOCKER-USER"], check=False).returncode == 0
    tables = Path("/proc/net/ip_tables_names")
    if not tables.exists() or "filter" not in tables.read_text(encoding="ascii").split():
        return False
    return run_program([program, "-w", "5", "-S", "DOCKER-USER"], check=False).returncode == 0


def _ufw(config: NodeConfig) -> Iterator[Accept]:
    if not shutil.which("ufw") or "Status: active" not in run_program(["ufw", "status"], check=False).stdout:
        return
    comment = ("comment", f"binderops-{config.name}")
    for rule in (
        ("route", "allow", "from", config.pod_range),
        ("route", "allow", "to", config.pod_range),
        ("allow", "from", config.pod_range, "to", config.bridge_address),
    ):
        remove = ("route", "delete", *rule[1:]) if rule[0] == "route" else ("delete", *rule)
        yield Accept(
            check=("ufw", "show", "added"),
            add=("ufw", *rule, *comment),
            remove=("ufw", *remove),
            shown=" ".join(("ufw", *rule)),
        )


def _firewalld(config: NodeConfig) -> Iterator[Accept]:
    if not shutil.which("firewall-cmd") or run_program(["firewall-cmd", "--state"], check=False).returncode != 0:
        return
    for cidr in (config.pod_range, config.service_range):
        yield Accept(
            check=("firewall-cmd", "--zone=trusted", f"--query-source={cidr}"),
            add=("firewall-cmd", "--zone=trusted", f"--add-source={cidr}"),
            remove=("firewall-cmd", "--zone=trusted", f"--remove-source={cidr}"),
        )
