"""Objects as tests need them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

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
