"""A guest on the machine: where another firewall drops forwarded packets, its documented accept rules are added.

An accept in our own table does not override a drop in another's (each table has its say), so the accepts go where the
other firewall wants them: Docker's chain DOCKER-USER, `ufw route allow`, firewalld's zone `trusted`. They are added
once, again whenever the other has forgotten them, and are removed at teardown; an equal rule of the operator's own
stays. A firewall that is not there, or off, is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import structlog

from binderops.errors import NetworkError
from binderops.node.config import NodeConfig
from binderops.node.network.firewalls.docker import Docker
from binderops.node.network.firewalls.firewalld import Firewalld
from binderops.node.network.firewalls.ufw import Ufw
from binderops.node.network.programs import run_program

log = structlog.get_logger(__name__)


class Firewall(Protocol):
    """Somebody else's firewall on this machine."""

    def missing(self) -> Iterator[tuple[str, ...]]:
        """The commands that add what it lacks; none where it is off. NetworkError when it does not answer."""

    def remove(self) -> list[str]:
        """Takes away what was added; says what stays. NetworkError when it does not answer."""


def add_accepts(config: NodeConfig) -> list[str]:
    """Adds what is missing; returns each that could not be, with the reason.

    A refusal is no error of the node: the firewall's operator may have closed it on purpose.
    """
    refused = []
    for firewall in _firewalls(config):
        try:
            for command in firewall.missing():
                done = run_program(command, check=False)
                if done.returncode != 0:
                    refused.append(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
        except NetworkError as error:
            refused.append(str(error))
    return refused


def remove_accepts(config: NodeConfig) -> list[str]:
    """Removes what was added; returns what stays."""
    stays = []
    for firewall in _firewalls(config):
        try:
            stays += firewall.remove()
        except NetworkError as error:
            log.warning("a firewall keeps its accept rules", error=str(error))
            stays.append(str(error))
    return stays


def _firewalls(config: NodeConfig) -> tuple[Firewall, ...]:
    return Docker(config), Ufw(config), Firewalld(config)
