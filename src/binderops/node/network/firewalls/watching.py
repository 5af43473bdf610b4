"""Other firewalls come, go and are reloaded while a node runs: its accepts are added again, or named on the Node.

The Node's condition NetworkUnavailable is Kubernetes' word for it; it is written once there is something to tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from binderops.errors import BinderOpsError
from binderops.kube.client import Client
from binderops.kube.kinds import NODE
from binderops.kube.objects import conditions_of, set_condition, timestamp
from binderops.node.config import NodeConfig
from binderops.node.network.firewalls import add_accepts
from binderops.node.network.firewalls.changes import RuleChanges
from binderops.node.network.firewalls.docker import legacy_filters
from binderops.node.network.names import node_table
from binderops.node.network.programs import run_program

log = structlog.get_logger(__name__)

CONDITION = "NetworkUnavailable"
_QUIET_SECONDS = 0.3
"""A reload is many changes; one is looked at when nothing followed it for so long."""
_LONGEST_SECONDS = 3.0
_AGAIN_SECONDS = 10.0
"""firewalld writes its rules before it answers: a change is looked at once more."""
_TELL_SECONDS = 1.0
_UNHEARD_SECONDS = 60.0
"""For what nobody says: a change of iptables-legacy, a firewall that answers again."""


async def run(client: Client, config: NodeConfig, rebuild: Callable[[], None]) -> None:
    """Until cancelled. `rebuild` is called when somebody has removed the node's own table."""
    with RuleChanges(node_table(config.name)) as changes:
        told: list[str] | None = None
        changed = False
        while True:
            refused = await asyncio.to_thread(add_accepts, config)
            if changed and await asyncio.to_thread(_table_is_gone, config):
                log.warning("somebody removed this node's rules; they are written anew", table=node_table(config.name))
                rebuild()
            if refused != told and await _tell(client, config, refused):
                told = refused
            changed = await _changed(changes, _pause(changed, refused, told))


def _pause(changed: bool, refused: list[str], told: list[str] | None) -> float | None:
    if told != refused:
        return _TELL_SECONDS
    if changed:
        return _AGAIN_SECONDS
    return _UNHEARD_SECONDS if refused or legacy_filters() else None


async def _changed(changes: RuleChanges, seconds: float | None) -> bool:
    """Waits for a change and for the quiet after it, so long at most; whether there was one."""
    try:
        async with asyncio.timeout(seconds):
            await changes.event.wait()
    except TimeoutError:
        return False
    latest = asyncio.get_running_loop().time() + _LONGEST_SECONDS
    while changes.event.is_set() and asyncio.get_running_loop().time() < latest:
        changes.event.clear()
        await asyncio.sleep(_QUIET_SECONDS)
    changes.event.clear()
    return True


def _table_is_gone(config: NodeConfig) -> bool:
    return run_program(["nft", "list", "table", "ip", node_table(config.name)], check=False).returncode != 0


async def _tell(client: Client, config: NodeConfig, refused: list[str]) -> bool:
    """Whether the Node says now what is refused."""
    for rule in refused:
        log.warning("an accept rule could not be added", rule=rule)
    try:
        conditions = conditions_of(await client.get(NODE, config.name))
        if not refused and not any(each.get("type") == CONDITION for each in conditions):
            return True
        entry = {
            "type": CONDITION,
            "status": "True" if refused else "False",
            "reason": "FirewallRefuses" if refused else "FirewallsOpen",
            "message": "; ".join(refused) or "other firewalls let pods through",
            "lastHeartbeatTime": timestamp(),
        }
        changed = [each for each in set_condition(conditions, entry) if each.get("type") == CONDITION]
        body = {"status": {"conditions": changed}}
        await client.patch(NODE, config.name, None, body, how="strategic", subresource="status")
    except BinderOpsError as error:  # also a Node that is not registered yet
        log.info("the Node cannot be told of other firewalls yet", error=str(error))
        return False
    return True
