"""A watch that ends by itself ends the controller: what follows nothing must not look healthy."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from binderops.errors import BinderOpsError
from binderops.ingress.watcher import Scope, Watcher
from binderops.kube.client import Client
from binderops.kube.informer import Informer

NOBODY = {
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "x",
}


async def test_an_informer_that_fails_is_told_as_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    disaster = asyncio.Event()

    async def run(self: Informer) -> None:
        self.synced.set()
        await disaster.wait()
        raise BrokenPipeError("the log's reader is gone")

    monkeypatch.setattr(Informer, "run", run)
    async with Client.from_kubeconfig(NOBODY) as client, AsyncExitStack() as stack:
        watcher = Watcher(client, Scope("nginx"))
        await watcher.start(stack)
        disaster.set()
        async with asyncio.timeout(5):
            with pytest.raises(BinderOpsError, match="stopped following the API") as raised:
                await watcher.change()
    assert isinstance(raised.value.__cause__, BrokenPipeError)


async def test_one_that_fails_before_it_has_listed_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(self: Informer) -> None:
        raise BrokenPipeError("the log's reader is gone")

    monkeypatch.setattr(Informer, "run", run)
    async with Client.from_kubeconfig(NOBODY) as client, AsyncExitStack() as stack:
        async with asyncio.timeout(5):
            with pytest.raises(BinderOpsError, match="stopped following the API"):
                await Watcher(client, Scope("nginx")).start(stack)
