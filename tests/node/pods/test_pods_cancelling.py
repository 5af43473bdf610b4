"""A node that is stopped as something happens: what runs until it is cancelled ends, though it was just woken."""

from __future__ import annotations

import asyncio

import pytest

from binderops.kube.client import Client
from binderops.kube.events import EventRecorder
from binderops.kube.informer import Informer
from binderops.kube.kinds import POD
from binderops.node.pods.binding import Binder

NOWHERE = {
    "clusters": [{"name": "n", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "n", "user": {}}],
    "contexts": [{"name": "n", "context": {"cluster": "n", "user": "n"}}],
    "current-context": "n",
}


@pytest.mark.parametrize("later", range(5))
async def test_woken_and_cancelled_at_once_it_ends(later: int) -> None:
    async with Client.from_kubeconfig(NOWHERE) as client:
        binder = Binder(client, Informer(client, POD), EventRecorder(client, "kubelet"), {"metadata": {"name": "n"}})
        running = asyncio.create_task(binder.run())
        await asyncio.sleep(0.01)
        binder.poke()
        for _ in range(later):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait({running}, timeout=1)
        ended = running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert ended
