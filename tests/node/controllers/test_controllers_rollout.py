"""Rollouts: the arithmetic by tables, and whole rollouts simulated within their bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binderops.node.controllers import rollout
from binderops.node.controllers.deployments import new_replica_set, seconds_to_deadline, status_for
from binderops.node.controllers.rollout import DESIRED, REVISION, plan_rollout

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)


def deployment(replicas: int = 3, image: str = "a", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "w", "namespace": "x", "uid": "d", "generation": 1, "annotations": {"note": "n"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "w"}}, "template": template, **spec},
        "status": {},
    }


def replica_set(
    owner: dict[str, Any], replicas: int, *, available: int | None = None, number: int = 1
) -> dict[str, Any]:
    made = new_replica_set(owner, replicas, number)
    made["metadata"] |= {"uid": made["metadata"]["name"], "creationTimestamp": f"2026-01-01T00:00:{number:02}Z"}
    count = replicas if available is None else available
    made["status"] = {"replicas": replicas, "readyReplicas": count, "availableReplicas": count}
    return made


def rolling(surge: int | str, unavailable: int | str) -> dict[str, Any]:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


def sizes(plan: rollout.Plan) -> list[tuple[int, int]]:
    return [(rollout.revision_of(scale.replica_set), scale.replicas) for scale in plan.scales]


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "bounds"),
    [
        (4, "25%", "25%", (1, 1)),
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (3, 0, 0, (0, 1)),
        (3, "0%", "10%", (0, 1)),
        (2, 1, 5, (1, 2)),
    ],
)
def test_bounds(replicas: int, surge: int | str, unavailable: int | str, bounds: tuple[int, int]) -> None:
    assert rollout.bounds_of(deployment(replicas, strategy=rolling(surge, unavailable))) == bounds


def test_a_new_deployment_makes_its_first_replica_set() -> None:
    assert plan_rollout(deployment(3), [], []).create == 3


def test_the_first_step_of_a_rolling_update_stays_below_the_surge() -> None:
    old = replica_set(deployment(3), 3)
    assert plan_rollout(deployment(3, image="b", strategy=rolling(1, 0)), [old], []).create == 1
    assert plan_rollout(deployment(3, image="b", strategy=rolling(0, 1)), [old], []).create == 0


def test_old_pods_go_as_new_ones_are_available() -> None:
    want = deployment(3, image="b", strategy=rolling(1, 0))
    old, new = replica_set(deployment(3), 3), replica_set(want, 1, available=0, number=2)
    assert plan_rollout(want, [old, new], []).scales == []
    new["status"]["availableReplicas"] = 1
    assert sizes(plan_rollout(want, [old, new], [])) == [(1, 2)]


def test_old_pods_that_are_not_available_go_first() -> None:
    want = deployment(3, image="c", strategy=rolling(1, 0))
    good, bad = replica_set(deployment(3), 2), replica_set(deployment(3, image="b"), 1, available=0, number=2)
    new = replica_set(want, 1, available=1, number=3)
    assert sizes(plan_rollout(want, [good, bad, new], [])) == [(2, 0)]


def test_recreate_waits_for_the_last_old_pod() -> None:
    want = deployment(2, image="b", strategy={"type": "Recreate"})
    old = replica_set(deployment(2), 2)
    assert sizes(plan_rollout(want, [old], [])) == [(1, 0)]
    old = replica_set(deployment(2), 0)
    owner = {"ownerReferences": [{"uid": old["metadata"]["uid"]}]}
    ending = {"metadata": {**owner, "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}}
    assert plan_rollout(want, [old], [ending]) == rollout.Plan([])
    assert plan_rollout(want, [old], [{**ending, "status": {"phase": "Succeeded"}}]).create == 2


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    old = replica_set(deployment(3), 3)
    plan = plan_rollout(deployment(5, image="b", paused=True), [old], [])
    assert (sizes(plan), plan.create) == ([(1, 5)], None)


def test_scaling_in_the_middle_of_a_rollout_is_shared_in_proportion() -> None:
    before = deployment(10, image="b", strategy=rolling(2, 0))
    old, new = replica_set(deployment(10), 8), replica_set(before, 4, number=2)
    for rs in (old, new):
        rs["metadata"]["annotations"] |= {DESIRED: "10", rollout.MAXIMUM: "12"}
    plan = plan_rollout(deployment(20, image="b", strategy=rolling(2, 0)), [old, new], [])
    assert dict(sizes(plan)) == {1: 15, 2: 7}


def test_a_rollback_finds_its_replica_set_by_the_template() -> None:
    first, second = replica_set(deployment(), 0), replica_set(deployment(image="b"), 3, number=2)
    assert rollout.find_new(deployment(), [second, first]) is first
    first["spec"]["template"]["metadata"]["creationTimestamp"] = None
    assert rollout.find_new(deployment(), [second, first]) is first


def test_history_beyond_the_limit_is_forgotten_oldest_first() -> None:
    sets = [replica_set(deployment(image=str(n)), 0, number=n) for n in range(1, 5)]
    sets[1]["status"]["replicas"] = 1  # still has a pod
    kept = deployment(revisionHistoryLimit=1)
    assert [rollout.revision_of(rs) for rs in rollout.to_forget(kept, sets)] == [1, 3]
    assert rollout.to_forget(deployment(), sets) == []


def test_the_replica_set_of_a_deployment() -> None:
    made = new_replica_set(deployment(), 2, 7)
    digest = made["metadata"]["labels"]["pod-template-hash"]
    assert made["metadata"]["name"] == f"w-{digest}"
    assert made["spec"]["selector"]["matchLabels"] == {"app": "w", "pod-template-hash": digest}
    assert made["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] == digest
    assert made["metadata"]["annotations"][REVISION] == "7"
    assert made["metadata"]["annotations"]["note"] == "n"
    assert new_replica_set(deployment(), 2, 7, collisions=1)["metadata"]["name"] != made["metadata"]["name"]
    assert new_replica_set(deployment(image="b"), 2, 7)["metadata"]["name"] != made["metadata"]["name"]


@settings(max_examples=150, deadline=None)
@given(
    replicas=st.integers(0, 8),
    surge=st.integers(0, 4),
    unavailable=st.integers(0, 4),
    old_available=st.integers(0, 8),
    order=st.randoms(use_true_random=False),
)
def test_a_rollout_ends_and_stays_within_its_bounds(
    replicas: int, surge: int, unavailable: int, old_available: int, order: Any
) -> None:
    """Each step one pod may become available; pods that are scaled away vanish, the unavailable ones first."""
    start = deployment(replicas, strategy=rolling(surge, unavailable))
    want = deployment(replicas, image="b", strategy=rolling(surge, unavailable))
    sets = [replica_set(start, replicas, available=min(replicas, old_available))]
    bounds = rollout.bounds_of(want)
    floor = min(sets[0]["status"]["availableReplicas"], replicas - bounds.unavailable)
    for _ in range(200):
        plan = plan_rollout(want, sets, [])
        if plan.create is not None:
            sets.append(replica_set(want, plan.create, available=0, number=2))
        for scale in plan.scales:
            rs = scale.replica_set
            rs["spec"]["replicas"] = scale.replicas
            rs["status"]["availableReplicas"] = min(rs["status"]["availableReplicas"], scale.replicas)
        total = sum(rs["spec"]["replicas"] for rs in sets)
        assert total <= replicas + bounds.surge
        assert sum(rs["status"]["availableReplicas"] for rs in sets) >= floor
        new = rollout.find_new(want, sets)
        if new is not None and new["spec"]["replicas"] == total == new["status"]["availableReplicas"] == replicas:
            return
        growing = [rs for rs in sets[1:] if rs["status"]["availableReplicas"] < rs["spec"]["replicas"]]
        if growing:
            order.choice(growing)["status"]["availableReplicas"] += 1
    pytest.fail("the rollout did not end")


def test_status_follows_a_rollout_to_its_end() -> None:
    want = deployment(2)
    new = replica_set(want, 2, available=0)
    want["status"] = status_for(want, [new], NOW)
    conditions = {entry["type"]: entry for entry in want["status"]["conditions"]}
    assert conditions["Available"]["status"] == "False"
    assert conditions["Progressing"]["reason"] == "NewReplicaSetCreated"
    assert seconds_to_deadline(want, want["status"], NOW) == pytest.approx(600.1)
    assert status_for(want, [new], NOW + timedelta(seconds=5)) == want["status"], "time alone changes nothing"

    new["status"] |= {"readyReplicas": 2, "availableReplicas": 2}
    want["status"] = status_for(want, [new], NOW + timedelta(seconds=9))
    conditions = {entry["type"]: entry for entry in want["status"]["conditions"]}
    assert conditions["Available"]["status"] == "True"
    assert conditions["Progressing"]["reason"] == "NewReplicaSetAvailable"
    assert (want["status"]["updatedReplicas"], want["status"]["unavailableReplicas"]) == (2, 0)
    assert seconds_to_deadline(want, want["status"], NOW) is None


def test_a_rollout_that_stands_still_is_late() -> None:
    want = deployment(1, progressDeadlineSeconds=30)
    new = replica_set(want, 1, available=0)
    want["status"] = status_for(want, [new], NOW)
    want["status"] = status_for(want, [new], NOW + timedelta(seconds=29))
    late = status_for(want, [new], NOW + timedelta(seconds=31))
    progressing = next(entry for entry in late["conditions"] if entry["type"] == "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")
    want["status"] = late
    new["status"] |= {"readyReplicas": 1, "availableReplicas": 1}
    recovered = status_for(want, [new], NOW + timedelta(seconds=40))
    assert next(e for e in recovered["conditions"] if e["type"] == "Progressing")["reason"] == "NewReplicaSetAvailable"
