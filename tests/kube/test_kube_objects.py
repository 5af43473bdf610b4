"""Helpers for objects, and kinds and their paths."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from binderops.kube import kinds
from binderops.kube.kinds import kind_of
from binderops.kube.objects import owner_reference, parse_timestamp, set_condition, timestamp


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (kinds.POD.path("a", "b"), "/api/v1/namespaces/a/pods/b"),
        (kinds.POD.path(), "/api/v1/pods"),
        (kinds.DEPLOYMENT.path("a", "b", "status"), "/apis/apps/v1/namespaces/a/deployments/b/status"),
        (kinds.NAMESPACE.path(None, "x", "finalize"), "/api/v1/namespaces/x/finalize"),
        (kinds.CLUSTER_ROLE.path(None, "system:node"), "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode"),
        (kinds.POD.path("a/../b", "c"), "/api/v1/namespaces/a%2F..%2Fb/pods/c"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert path == expected


def test_no_name_is_never_a_collection() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        kinds.POD.path("a", "")


def test_kind_of() -> None:
    assert kind_of({"apiVersion": "apps/v1", "kind": "Deployment"}) is kinds.DEPLOYMENT
    with pytest.raises(KeyError, match="Widget"):
        kind_of({"apiVersion": "x/v1", "kind": "Widget"})


def test_a_condition_keeps_its_time_until_it_turns() -> None:
    first = set_condition([], {"type": "Ready", "status": "True"}, now=datetime(2026, 1, 1, tzinfo=UTC))
    same = set_condition(
        first, {"type": "Ready", "status": "True", "reason": "x"}, now=datetime(2026, 1, 2, tzinfo=UTC)
    )
    turned = set_condition(same, {"type": "Ready", "status": "False"}, now=datetime(2026, 1, 3, tzinfo=UTC))
    assert [c[0]["lastTransitionTime"] for c in (first, same, turned)] == [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z",
        "2026-01-03T00:00:00Z",
    ]
    assert same[0]["reason"] == "x"
    assert len(turned) == 1


def test_owner_reference() -> None:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "uid": "u"}}
    assert owner_reference(owner)["controller"] is True
    assert "controller" not in owner_reference(owner, controller=False)


def test_times() -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert parse_timestamp(timestamp(moment)) == moment
    assert parse_timestamp("2026-02-03T05:05:06.123456+01:00").replace(microsecond=0) == moment
    with pytest.raises(ValueError, match="zone"):
        parse_timestamp("2026-02-03T04:05:06")
