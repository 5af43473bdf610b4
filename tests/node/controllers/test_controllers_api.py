"""The controllers on the node's own API; a stand-in reports the pods as running."""

from __future__ import annotations

from typing import Any

import pytest

from binderops.kube import kinds
from binderops.kube.kinds import (
    CONFIG_MAP,
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    ENDPOINTS,
    EVENT,
    JOB,
    NAMESPACE,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    Kind,
    Object,
)
from binderops.kube.objects import condition, is_condition_true, is_deleting, labels_of, name_of, owners_of, uid_of

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.root]


def template(image: str = "a", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": image, "ports": [{"name": "web", "containerPort": 8080}]}]
    return {"metadata": {"labels": {"app": "w", **(labels or {})}}, "spec": {"containers": containers, **spec}}


def workload(kind: Kind, namespace: str, name: str = "w", **spec: Any) -> Object:
    base: Object = {"selector": {"matchLabels": {"app": "w"}}, "template": template()}
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": base | spec,
    }


def pod(namespace: str, name: str, labels: dict[str, str]) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template()["spec"]}


def claim(namespace: str, name: str = "data", **spec: Any) -> Object:
    base = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": base | spec,
    }


def job(namespace: str, outcome: str, **spec: Any) -> Object:
    once = template(labels={"outcome": outcome}, restartPolicy="Never")
    made = workload(JOB, namespace, "j", template=once, **spec)
    del made["spec"]["selector"]
    return made


def rolled_out(count: int) -> Any:
    """As `kubectl rollout status` decides it."""

    def check(deployment: Object) -> bool:
        status = deployment.get("status", {})
        return bool(
            status.get("observedGeneration") == deployment["metadata"]["generation"]
            and status.get("updatedReplicas", 0) == status.get("replicas", 0) == count
            and status.get("availableReplicas", 0) == count
            and is_condition_true(deployment, "Available")
        )

    return check


async def test_a_deployment_rolls_out_rolls_on_and_rolls_back(cluster: Any, namespace: str) -> None:
    client = cluster.client
    await client.create(workload(DEPLOYMENT, namespace, replicas=3))
    first = await cluster.until(DEPLOYMENT, "w", namespace, rolled_out(3))
    assert first["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert first["metadata"]["generation"] == 1
    assert (condition(first, "Progressing") or {})["reason"] == "NewReplicaSetAvailable"

    await client.patch(DEPLOYMENT, "w", namespace, {"spec": {"template": template("b")}})
    await cluster.until(
        DEPLOYMENT, "w", namespace, lambda d: rolled_out(3)(d) and d["metadata"]["annotations"][REVISION] == "2"
    )
    pods = await cluster.until_list(POD, namespace, lambda pods: len(pods) == 3)
    assert {p["spec"]["containers"][0]["image"] for p in pods} == {"b"}

    await client.patch(DEPLOYMENT, "w", namespace, {"spec": {"template": template("a")}})
    await cluster.until(
        DEPLOYMENT, "w", namespace, lambda d: rolled_out(3)(d) and d["metadata"]["annotations"][REVISION] == "3"
    )
    sets = (await client.list(REPLICA_SET, namespace)).items
    assert len(sets) == 2, "the first ReplicaSet is used again"
    assert sorted(rs["spec"]["replicas"] for rs in sets) == [0, 3]


REVISION = "deployment.kubernetes.io/revision"


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (kinds.RESOURCE_QUOTA, {"hard": {"pods": "1"}}),
        (kinds.LIMIT_RANGE, {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}),
        (
            kinds.HORIZONTAL_POD_AUTOSCALER,
            {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"}},
        ),
    ],
)
async def test_what_has_no_effect_here_is_told_so(cluster: Any, namespace: str, kind: Kind, spec: Any) -> None:
    metadata = {"name": "idle", "namespace": namespace}
    await cluster.client.create({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec})
    (event, *_) = await cluster.until_list(EVENT, namespace, lambda events: events)
    assert (event["reason"], event["involvedObject"]["kind"]) == ("Unsupported", kind.kind)
    assert f"{kind.kind}s" in event["message"]
    if kind is kinds.HORIZONTAL_POD_AUTOSCALER:
        found = await cluster.client.get(kind, "idle", namespace)
        told = condition(found, "ScalingActive")
        assert told and (told["status"], told["reason"]) == ("False", "Unsupported")


async def test_recreate_never_runs_two_templates_at_once(cluster: Any, namespace: str) -> None:
    await cluster.client.create(workload(DEPLOYMENT, namespace, replicas=2, strategy={"type": "Recreate"}))
    await cluster.until(DEPLOYMENT, "w", namespace, rolled_out(2))
    cluster.machine.slow_to_end.clear()
    await cluster.client.patch(DEPLOYMENT, "w", namespace, {"spec": {"template": template("b")}})
    ending = await cluster.until_list(POD, namespace, lambda pods: pods and all(map(is_deleting, pods)))
    assert len(ending) == 2
    cluster.machine.slow_to_end.set()
    await cluster.until(DEPLOYMENT, "w", namespace, rolled_out(2))
    pods = await cluster.until_list(POD, namespace, lambda pods: len(pods) == 2)
    assert {p["spec"]["containers"][0]["image"] for p in pods} == {"b"}


async def test_fifty_pods_are_fifty_and_one_that_goes_is_replaced(cluster: Any, namespace: str) -> None:
    before = len(cluster.machine.seen)
    await cluster.client.create(workload(REPLICA_SET, namespace, replicas=50))
    await cluster.until(REPLICA_SET, "w", namespace, lambda rs: rs.get("status", {}).get("readyReplicas") == 50)
    assert len(cluster.machine.seen) - before == 50, "none was made that had to be removed again"
    victim = (await cluster.client.list(POD, namespace)).items[0]
    await cluster.client.delete(POD, name_of(victim), namespace)
    pods = await cluster.until_list(
        POD, namespace, lambda pods: len(pods) == 50 and all(uid_of(p) != uid_of(victim) for p in pods)
    )
    assert len(pods) == 50
    await cluster.client.patch(REPLICA_SET, "w", namespace, {"spec": {"replicas": 2}})
    await cluster.until_list(POD, namespace, lambda pods: len(pods) == 2)
    assert len(cluster.machine.seen) - before == 51


async def test_an_orphan_is_adopted_and_a_stray_released(cluster: Any, namespace: str) -> None:
    await cluster.client.create(pod(namespace, "alone", {"app": "w"}))
    await cluster.client.create(workload(REPLICA_SET, namespace, replicas=1))
    await cluster.until(POD, "alone", namespace, lambda pod: owners_of(pod) and owners_of(pod)[0]["name"] == "w")
    await cluster.client.patch(POD, "alone", namespace, {"metadata": {"labels": {"app": "other"}}})
    await cluster.until(POD, "alone", namespace, lambda pod: not owners_of(pod))
    await cluster.until_list(POD, namespace, lambda pods: len(pods) == 2)


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
async def test_what_is_owned_goes_with_its_owner(cluster: Any, namespace: str, propagation: Any) -> None:
    await cluster.client.create(workload(DEPLOYMENT, namespace, replicas=2))
    deployment = await cluster.until(DEPLOYMENT, "w", namespace, rolled_out(2))
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned", "namespace": namespace}}
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w", "uid": uid_of(deployment)}
    config["metadata"] |= {"ownerReferences": [reference]}  # type: ignore[operator]
    await cluster.client.create(config)
    cluster.machine.slow_to_end.clear()
    await cluster.client.delete(DEPLOYMENT, "w", namespace, propagation=propagation)
    await cluster.until_list(POD, namespace, lambda pods: pods and all(map(is_deleting, pods)))
    if propagation == "Foreground":
        assert is_deleting(await cluster.client.get(DEPLOYMENT, "w", namespace)), "it waits for its pods"
    else:
        await cluster.gone(DEPLOYMENT, "w", namespace)
    cluster.machine.slow_to_end.set()
    await cluster.gone(DEPLOYMENT, "w", namespace)
    for kind in (POD, REPLICA_SET):
        await cluster.until_list(kind, namespace, lambda items: not items)
    await cluster.gone(CONFIG_MAP, "owned", namespace)


async def test_orphaned_dependents_stay(cluster: Any, namespace: str) -> None:
    await cluster.client.create(workload(REPLICA_SET, namespace, replicas=2))
    await cluster.until_list(POD, namespace, lambda pods: len(pods) == 2)
    await cluster.client.delete(REPLICA_SET, "w", namespace, propagation="Orphan")
    await cluster.gone(REPLICA_SET, "w", namespace)
    pods = (await cluster.client.list(POD, namespace)).items
    assert [owners_of(p) for p in pods] == [[], []]


async def test_an_object_whose_owner_never_was_is_collected(cluster: Any, namespace: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace}}
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "nobody", "uid": "0000"}
    secret["metadata"] |= {"ownerReferences": [reference]}  # type: ignore[operator]
    await cluster.client.create(secret)
    await cluster.gone(SECRET, "s", namespace)


async def test_jobs_complete_or_fail(cluster: Any, namespace: str) -> None:
    await cluster.client.create(job(namespace, "Succeeded", completions=3, parallelism=2))
    done = await cluster.until(JOB, "j", namespace, lambda j: is_condition_true(j, "Complete"))
    assert done["status"]["succeeded"] == 3
    assert done["status"]["completionTime"] >= done["status"]["startTime"]
    await cluster.client.delete(JOB, "j", namespace, propagation="Foreground")
    await cluster.gone(JOB, "j", namespace)

    await cluster.client.create(job(namespace, "Failed", backoffLimit=0, ttlSecondsAfterFinished=1))
    failed = await cluster.until(JOB, "j", namespace, lambda j: is_condition_true(j, "Failed"))
    assert (condition(failed, "Failed") or {})["reason"] == "BackoffLimitExceeded"
    await cluster.gone(JOB, "j", namespace)  # its time to live is over
    await cluster.until_list(POD, namespace, lambda pods: not pods)


async def test_a_job_that_is_not_supported_says_so(cluster: Any, namespace: str) -> None:
    await cluster.client.create(job(namespace, "Succeeded", completions=1, completionMode="Indexed"))
    events = await cluster.until_list(
        EVENT, namespace, lambda events: any(e["reason"] == "Unsupported" for e in events)
    )
    assert any("Indexed" in event["message"] for event in events)
    assert (await cluster.client.list(POD, namespace)).items == []


async def test_a_cron_job_starts_what_is_due(cluster: Any, namespace: str) -> None:
    once = template(labels={"outcome": "Succeeded"}, restartPolicy="Never")
    made = workload(CRON_JOB, namespace, "c")
    made["spec"] = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": {"template": once}}}
    await cluster.client.create(made)
    status = {"status": {"lastScheduleTime": "2020-01-01T00:00:00Z"}}
    await cluster.client.patch(CRON_JOB, "c", namespace, status, subresource="status")
    await cluster.client.patch(CRON_JOB, "c", namespace, {"spec": {"suspend": False}})
    (started,) = await cluster.until_list(JOB, namespace, lambda jobs: len(jobs) == 1)
    assert owners_of(started)[0]["name"] == "c"
    await cluster.until(CRON_JOB, "c", namespace, lambda c: c["status"].get("lastSuccessfulTime"))
    done = await cluster.until(CRON_JOB, "c", namespace, lambda c: not c["status"].get("active"))
    assert done["status"]["lastScheduleTime"] > "2025"


async def test_endpoints_follow_pods(cluster: Any, namespace: str) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "svc", "namespace": namespace}}
    await cluster.client.create({**service, "spec": {"selector": {"app": "w"}, "ports": ports}})
    await cluster.client.create(workload(DEPLOYMENT, namespace, replicas=2))
    selector = "kubernetes.io/service-name=svc"

    def ready(count: int) -> Any:
        return lambda slices: sum(e["conditions"]["ready"] for s in slices for e in s.get("endpoints") or []) == count

    slices = await cluster.until_list(ENDPOINT_SLICE, namespace, ready(2), labels=selector)
    assert [entry["ports"][0]["port"] for entry in slices if entry.get("endpoints")] == [8080]
    legacy = await cluster.until(
        ENDPOINTS, "svc", namespace, lambda e: e.get("subsets") and len(e["subsets"][0].get("addresses", [])) == 2
    )
    assert legacy["subsets"][0]["ports"][0]["port"] == 8080

    one = (await cluster.client.list(POD, namespace)).items[0]
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    await cluster.client.patch(POD, name_of(one), namespace, unready, subresource="status")
    await cluster.until_list(ENDPOINT_SLICE, namespace, ready(1), labels=selector)
    await cluster.client.delete(SERVICE, "svc", namespace)
    await cluster.until_list(ENDPOINT_SLICE, namespace, lambda items: not items, labels=selector)
    await cluster.gone(ENDPOINTS, "svc", namespace)


async def test_a_stateful_set_has_ordinals_and_claims(cluster: Any, namespace: str) -> None:
    entry = claim(namespace)
    del entry["metadata"]["namespace"]
    made = workload(STATEFUL_SET, namespace, "s", replicas=2, serviceName="svc", volumeClaimTemplates=[entry])
    await cluster.client.create(made)

    def done(target: Object) -> bool:
        status = target.get("status", {})
        return bool(
            status.get("observedGeneration") == target["metadata"]["generation"]
            and status.get("readyReplicas") == status.get("updatedReplicas") == 2
            and status.get("currentRevision") == status.get("updateRevision")
        )

    first = await cluster.until(STATEFUL_SET, "s", namespace, done)
    pods = (await cluster.client.list(POD, namespace)).items
    assert sorted(map(name_of, pods)) == ["s-0", "s-1"]
    claims = await cluster.until_list(
        PERSISTENT_VOLUME_CLAIM, namespace, lambda cs: [c.get("status", {}).get("phase") for c in cs] == ["Bound"] * 2
    )
    assert sorted(map(name_of, claims)) == ["data-s-0", "data-s-1"]
    await cluster.client.patch(STATEFUL_SET, "s", namespace, {"spec": {"template": template("b")}})
    second = await cluster.until(STATEFUL_SET, "s", namespace, done)
    assert second["status"]["updateRevision"] != first["status"]["updateRevision"]
    pods = (await cluster.client.list(POD, namespace)).items
    assert {p["spec"]["containers"][0]["image"] for p in pods} == {"b"}


async def test_claims_go_when_the_policy_says_so(cluster: Any, namespace: str) -> None:
    entry = claim(namespace)
    del entry["metadata"]["namespace"]
    policy = {"whenDeleted": "Delete", "whenScaled": "Delete"}
    made = workload(STATEFUL_SET, namespace, "s", replicas=2, serviceName="svc", volumeClaimTemplates=[entry])
    await cluster.client.create(made | {"spec": made["spec"] | {"persistentVolumeClaimRetentionPolicy": policy}})
    await cluster.until(STATEFUL_SET, "s", namespace, lambda s: s.get("status", {}).get("readyReplicas") == 2)
    await cluster.until_list(PERSISTENT_VOLUME_CLAIM, namespace, lambda claims: all(map(owners_of, claims)))
    await cluster.client.patch(STATEFUL_SET, "s", namespace, {"spec": {"replicas": 1}})
    await cluster.gone(PERSISTENT_VOLUME_CLAIM, "data-s-1", namespace)
    assert await cluster.client.get(PERSISTENT_VOLUME_CLAIM, "data-s-0", namespace)
    await cluster.client.delete(STATEFUL_SET, "s", namespace)
    await cluster.gone(PERSISTENT_VOLUME_CLAIM, "data-s-0", namespace)


async def test_a_daemon_set_has_one_pod(cluster: Any, namespace: str) -> None:
    await cluster.client.create(workload(DAEMON_SET, namespace))
    done = await cluster.until(DAEMON_SET, "w", namespace, lambda d: d.get("status", {}).get("numberAvailable") == 1)
    assert done["status"]["desiredNumberScheduled"] == done["status"]["updatedNumberScheduled"] == 1
    await cluster.client.patch(DAEMON_SET, "w", namespace, {"spec": {"template": template("b")}})
    pods = await cluster.until_list(
        POD, namespace, lambda pods: [p["spec"]["containers"][0]["image"] for p in pods] == ["b"]
    )
    assert labels_of(pods[0])["controller-revision-hash"]


async def test_a_namespace_is_emptied_and_goes(cluster: Any, namespace: str) -> None:
    await cluster.client.create(workload(DEPLOYMENT, namespace, replicas=2))
    await cluster.client.create(claim(namespace))
    await cluster.until(DEPLOYMENT, "w", namespace, rolled_out(2))
    await cluster.until(PERSISTENT_VOLUME_CLAIM, "data", namespace, lambda c: c["status"].get("phase") == "Bound")
    await cluster.client.delete(NAMESPACE, namespace)
    await cluster.gone(NAMESPACE, namespace, None)
    for kind in (POD, DEPLOYMENT, REPLICA_SET, PERSISTENT_VOLUME_CLAIM, CONFIG_MAP, SERVICE_ACCOUNT, EVENT, kinds.ROLE):
        assert (await cluster.client.list(kind, namespace)).items == []


async def test_what_each_namespace_has_is_made_again(cluster: Any, namespace: str) -> None:
    config = await cluster.until(CONFIG_MAP, "kube-root-ca.crt", namespace, lambda _: True)
    assert config["data"]["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")
    account = await cluster.client.get(SERVICE_ACCOUNT, "default", namespace)
    await cluster.client.delete(SERVICE_ACCOUNT, "default", namespace)
    await cluster.client.delete(CONFIG_MAP, "kube-root-ca.crt", namespace)
    await cluster.until(SERVICE_ACCOUNT, "default", namespace, lambda a: uid_of(a) != uid_of(account))
    await cluster.until(CONFIG_MAP, "kube-root-ca.crt", namespace, lambda c: uid_of(c) != uid_of(config))


async def test_a_budget_counts_healthy_pods(cluster: Any, namespace: str) -> None:
    budget = workload(POD_DISRUPTION_BUDGET, namespace, "b")
    budget["spec"] = {"selector": {"matchLabels": {"app": "w"}}, "maxUnavailable": 1}
    await cluster.client.create(budget)
    await cluster.client.create(workload(DEPLOYMENT, namespace, replicas=2))
    status = (
        await cluster.until(
            POD_DISRUPTION_BUDGET, "b", namespace, lambda b: b.get("status", {}).get("currentHealthy") == 2
        )
    )["status"]
    assert (status["expectedPods"], status["desiredHealthy"], status["disruptionsAllowed"]) == (2, 1, 1)


async def test_an_api_that_is_killed_is_followed_again(cluster: Any, namespace: str) -> None:
    await cluster.client.create(workload(DEPLOYMENT, namespace, replicas=2))
    await cluster.until(DEPLOYMENT, "w", namespace, rolled_out(2))
    await cluster.api.stop(kill=True)
    await cluster.api.start()
    await cluster.client.patch(DEPLOYMENT, "w", namespace, {"spec": {"replicas": 4, "template": template("b")}})
    await cluster.until(DEPLOYMENT, "w", namespace, rolled_out(4))
    pods = await cluster.until_list(POD, namespace, lambda pods: len(pods) == 4)
    assert {p["spec"]["containers"][0]["image"] for p in pods} == {"b"}
