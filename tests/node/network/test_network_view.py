"""When the network is looked at anew."""

from __future__ import annotations

from typing import Any

import pytest

from binderops.node.network.keeper import _what_policies_read
from binderops.node.network.view import ClusterView


def pod(version: str, **changes: Any) -> dict[str, Any]:
    return _what_policies_read(
        {
            "metadata": {"name": "a", "namespace": "n", "uid": "1", "labels": changes.pop("labels", {"app": "a"})}
            | {"resourceVersion": version, "annotations": changes.pop("annotations", {})},
            "spec": {"containers": [{"name": "main", "ports": changes.pop("ports", [])}]},
            "status": {"phase": "Pending"} | changes,
        }
    )


@pytest.mark.parametrize(
    ("event_type", "changes", "rings"),
    [
        ("ADDED", {}, True),
        ("DELETED", {}, True),
        ("MODIFIED", {}, False),
        ("MODIFIED", {"annotations": {"seen": "yes"}}, False),
        ("MODIFIED", {"podIP": "198.51.100.4", "conditions": [{"type": "Ready", "status": "True"}]}, False),
        ("MODIFIED", {"phase": "Succeeded"}, True),
        ("MODIFIED", {"labels": {"app": "b"}}, True),
        ("MODIFIED", {"ports": [{"name": "http", "containerPort": 80}]}, True),
    ],
)
def test_it_rings_for_what_is_read(event_type: str, changes: dict[str, Any], rings: bool) -> None:
    view = ClusterView()
    view.notice(event_type, pod("2", **changes), None if event_type == "ADDED" else pod("1"))
    assert view.changed.is_set() is rings
