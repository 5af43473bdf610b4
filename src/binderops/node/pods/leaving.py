"""Giving back what a pod had on this node, as often as it takes: the engine may be away, or hold on to a container."""

from __future__ import annotations

import asyncio
import time

import structlog

from binderops.errors import BinderOpsError
from binderops.kube.kinds import Object
from binderops.kube.objects import uid_of
from binderops.node.pods import cgroups, ending, sandbox
from binderops.node.pods.kit import Kit
from binderops.node.pods.records import full_name
from binderops.node.pods.restarts import BackOff

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0


async def give_back(kit: Kit, pod: Object, *, wholly: bool) -> None:
    """Remove a pod's containers, network and volumes; ends once that is done (its logs stay).

    Network and volumes go as soon as no process uses them. Not `wholly`: a container in which nothing runs, and which
    the engine cannot remove yet, is left. That is for a pod which the API forgets next: what belongs to no pod, the
    manager removes.
    """
    backoff = BackOff(initial=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
    while True:
        try:
            left = await ending.remove_containers(kit, uid_of(pod))
            if not any(cgroups.processes(kit.config.name, uid_of(pod), identity) for identity in left):
                await sandbox.remove(kit, uid_of(pod))
                if not left or not wholly:
                    return
            why = "; ".join(str(error) for error in left.values())
        except (BinderOpsError, OSError) as error:
            why = str(error)
        backoff.advance(time.monotonic())
        log.warning("a pod keeps what it had for now", pod=full_name(pod), again_in_seconds=backoff.delay, error=why)
        await asyncio.sleep(backoff.delay)
