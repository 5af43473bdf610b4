"""What the controller tells back, on a real API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.node_api import RunningApi

from binderops.ingress.reporting import Reporter
from binderops.ingress.routing import Routing
from binderops.kube.client import Client
from binderops.kube.informer import Informer
from binderops.kube.kinds import INGRESS, Object
from binderops.kube.objects import status_of

PUBLISHED = {"status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}}


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    api = RunningApi(tmp_path)
    api.start()
    try:
        async with Client.from_kubeconfig(api.kubeconfig) as opened:
            yield opened
    finally:
        api.stop()


def ingress(class_name: str) -> Object:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"ingressClassName": class_name, "defaultBackend": backend},
    }


@pytest.mark.parametrize(("replaced", "told"), [(False, [{"ip": "127.0.0.1"}]), (True, None)])
async def test_an_address_is_for_the_ingress_that_was_seen(client: Client, replaced: bool, told: Any) -> None:
    informer = Informer(client, INGRESS)
    informer.objects["default", "web"] = await client.create(ingress("nginx"))
    if replaced:
        await client.delete(INGRESS, "web", "default")
        await client.create(ingress("of-somebody-else"))
    routing = Routing(hosts={}, default_backend=None, complaints=[], handled=[("default", "web")])
    await Reporter(client).addresses(routing, informer, PUBLISHED)
    found = await client.get(INGRESS, "web", "default")
    assert (status_of(found).get("loadBalancer") or {}).get("ingress") == told
