"""Objects as tests need them."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio

from binderops.errors import NotFoundError
from binderops.kube.kinds import NAMESPACE, SERVICE_ACCOUNT

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
MakePod = Callable[..., dict[str, Any]]


def make_pod(
    name: str = "p",
    *,
    phase: str = "Running",
    ready: bool = True,
    deleting: bool = False,
    age: float = 60,
    ip: str | None = None,
    labels: dict[str, str] | None = None,
    **status: Any,
) -> dict[str, Any]:
    at = (NOW - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": at}]
    metadata: dict[str, Any] = {"name": name, "namespace": "x", "uid": name, "labels": labels or {}}
    metadata["creationTimestamp"] = at
    if deleting:
        metadata["deletionTimestamp"] = at
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"name": "c"}]},
        "status": {"phase": phase, "conditions": conditions, **({"podIP": ip} if ip else {}), **status},
    }


@pytest.fixture
def pod() -> MakePod:
    """Makes a pod that is ready, unless told otherwise."""
    return make_pod


@pytest.fixture
def now() -> datetime:
    """The time at which the pods of `pod` are as old as they say."""
    return NOW


def _harness() -> ModuleType:
    """The harness beside this file: test folders are no packages."""
    spec = importlib.util.spec_from_file_location("controllers_harness", Path(__file__).with_name("harness.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """A node's API with our controllers, and pods that run as soon as they are made; one for all tests."""
    async with _harness().cluster(tmp_path_factory.mktemp("node")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def namespace(cluster: Any) -> AsyncIterator[str]:
    """A namespace of the test's own, deleted afterwards."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    await cluster.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await cluster.until(SERVICE_ACCOUNT, "default", name, lambda _: True)
    yield name
    cluster.machine.slow_to_end.set()
    with contextlib.suppress(NotFoundError):
        await cluster.client.delete(NAMESPACE, name)
