"""Roles that are aggregated while the disk takes nothing: tried again, and nothing else is taken along."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.disks import fill, small_disk

from binderops.errors import StoreFailedError
from binderops.kube.kinds import Object
from binderops.node.api.bootstrap import aggregate_roles, keep_aggregated
from binderops.node.api.selection import fields_of
from binderops.node.store import Store

pytestmark = pytest.mark.root

ROLES = "clusterroles.rbac.authorization.k8s.io"
RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}


async def test_roles_are_aggregated_once_there_is_room_again(tmp_path: Path) -> None:
    with small_disk(tmp_path, 16 << 20) as disk:
        store = Store(disk / "store.sqlite", fields_of=fields_of)
        try:
            whole = _role("whole", aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"into": "whole"}}]})
            await store.create(ROLES, whole)
            await store.create(ROLES, _role("part", labels={"into": "whole"}, rules=[RULE]))
            await _take_all(store, disk)
            with pytest.raises(StoreFailedError, match="disk is full"):
                await aggregate_roles(store)
            with capture_logs() as told:
                keeper = asyncio.create_task(keep_aggregated(store))
                await _until(lambda: any("roles cannot be aggregated" in each["event"] for each in told), keeper)
            (disk / "filler").unlink()
            # A change of any role is a reason to try again before the pause is over.
            await store.create(ROLES, _role("another"))
            await _until(lambda: _rules(store) == [RULE], keeper)
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        finally:
            await store.close()


async def _take_all(store: Store, disk: Path) -> None:
    """Leave no byte, in the store's own log neither."""
    fill(disk / "filler")
    for number in range(2000):
        try:
            await store.create("configmaps", {"metadata": {"name": f"m{number}", "namespace": "a"}, "x": "y" * 9000})
        except StoreFailedError:
            return
    raise AssertionError("the disk was never full")


def _role(name: str, *, labels: dict[str, str] | None = None, **more: object) -> Object:
    return {"kind": "ClusterRole", "metadata": {"name": name, "labels": labels or {}}, "rules": [], **more}


def _rules(store: Store) -> list[Object]:
    record = store.get(ROLES, "", "whole")
    assert record is not None
    found: list[Object] = record.object()["rules"]
    return found


async def _until(condition: Callable[[], bool], keeper: asyncio.Task[None]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            if keeper.done():
                keeper.result()
                raise AssertionError("it ended")
            await asyncio.sleep(0.02)
