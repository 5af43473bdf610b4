"""When a node that starts may say that it is ready: at once, unless its API tells of what ran here before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from binderops.node.config import read_config
from binderops.node.wiring import _settle_at_once

POD: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "localhost/i"}]}}
SERVICE: dict[str, Any] = {"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}


@pytest.mark.parametrize(
    ("left", "settles"),
    [
        ({}, True),
        ({"pods": POD}, True),
        ({"pods": {**POD, "spec": {**POD["spec"], "nodeName": "NAME"}}}, False),
        ({"services": SERVICE}, False),
        ({"services": {**SERVICE, "spec": {"ports": [{"port": 80}]}}}, True),
    ],
    ids=["nothing", "a pod of no node", "a pod of this node", "a public Service", "an inner Service"],
)
async def test_a_node_is_settled_at_once_where_nothing_of_this_machine_is_told(
    new_api: Any, as_admin: Any, left: dict[str, Any], settles: bool
) -> None:
    new_api.start()
    admin = as_admin(new_api)
    await admin.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    for plural, obj in left.items():
        spec = {key: new_api.name if value == "NAME" else value for key, value in obj["spec"].items()}
        await admin.create(f"/api/v1/namespaces/default/{plural}", {**obj, "spec": spec})
    settled = asyncio.Event()
    await _settle_at_once(read_config(new_api.name, state_root=new_api.root), settled)
    assert settled.is_set() is settles
