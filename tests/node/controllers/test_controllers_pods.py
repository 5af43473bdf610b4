"""Which pods go, which are endpoints, which ordinals come next, which volume a claim gets."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from binderops.node.controllers import binding, slices
from binderops.node.controllers.daemonsets import fits, to_delete
from binderops.node.controllers.disruption import status_for as budget_status
from binderops.node.controllers.replicasets import status_for, to_remove
from binderops.node.controllers.statefulsets import claims_for, plan_step, pod_for
from binderops.node.controllers.workloads import scaled, sort_claims, template_hash

# --- ReplicaSet -------------------------------------------------------------------------------------------------------


def test_the_least_loss_goes_first(pod: Any) -> None:
    def placed(name: str, **more: Any) -> dict[str, Any]:
        made: dict[str, Any] = pod(name, **more)
        made["spec"]["nodeName"] = "n"
        return made

    unplaced = pod("unplaced", ready=False, phase="Pending")
    pending = placed("pending", ready=False, phase="Pending")
    unready = placed("unready", ready=False)
    cheap = placed("cheap")
    cheap["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
    restarted = placed("restarted", containerStatuses=[{"restartCount": 3}])
    young, old = placed("young", age=5), placed("old", age=500)
    pods = [old, young, restarted, cheap, unready, pending, unplaced]
    order = [entry["metadata"]["name"] for entry in to_remove(pods, 7)]
    assert order == ["unplaced", "pending", "unready", "cheap", "young", "restarted", "old"]
    assert to_remove(pods, 0) == to_remove(pods, -3) == []


def test_availability_waits_for_min_ready_seconds(pod: Any, now: datetime) -> None:
    replica_set = {"metadata": {"generation": 4}, "spec": {"minReadySeconds": 30, "template": {}}}
    status = status_for(replica_set, [pod("a", age=60), pod("b", age=10), pod("c", ready=False)], now)
    assert (status["replicas"], status["readyReplicas"], status["availableReplicas"]) == (3, 2, 1)
    assert status["observedGeneration"] == 4


def test_claims(pod: Any) -> None:
    from binderops.kube.selectors import from_labels

    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r", "uid": "r"}}

    def owned(name: str, uid: str, **labels: str) -> dict[str, Any]:
        made: dict[str, Any] = pod(name, labels=labels)
        made["metadata"]["ownerReferences"] = [{"uid": uid, "controller": True}]
        return made

    mine, strayed, other = owned("mine", "r", app="w"), owned("strayed", "r", app="z"), owned("other", "q", app="w")
    orphan, ending = pod("orphan", labels={"app": "w"}), pod("ending", labels={"app": "w"}, deleting=True)
    claims = sort_claims(owner, from_labels({"app": "w"}), [mine, strayed, other, orphan, ending])
    assert claims == ([mine], [orphan], [strayed])


@pytest.mark.parametrize(
    ("value", "up", "expected"), [("50%", True, 3), ("50%", False, 2), (7, True, 7), (None, True, 2), ("3", False, 3)]
)
def test_scaled(value: int | str | None, up: bool, expected: int) -> None:
    assert scaled(value, 5, round_up=up, default="25%" if up else 0) == expected


def test_hashes_are_names() -> None:
    first = template_hash({"a": 1, "b": 2})
    assert first == template_hash({"b": 2, "a": 1}) != template_hash({"a": 1, "b": 2}, 1)
    assert first.isalnum()
    assert len(first) == 10


# --- StatefulSet ------------------------------------------------------------------------------------------------------

REVISION = {
    "metadata": {"name": "s-new", "labels": {"controller-revision-hash": "new"}},
    "data": {
        "spec": {"template": {"metadata": {"labels": {"app": "s"}}, "spec": {"containers": []}, "$patch": "replace"}}
    },
}


def stateful_set(replicas: int = 3, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "s", "namespace": "x", "uid": "s"},
        "spec": {"replicas": replicas, "serviceName": "svc", "selector": {"matchLabels": {"app": "s"}}, **spec},
    }


def step(target: dict[str, Any], pods: list[dict[str, Any]], now: datetime) -> tuple[list[int], list[str]]:
    plan = plan_step(target, pods, "new", now)
    return [ordinal for ordinal, _ in plan.create], [entry["metadata"]["name"] for entry in plan.delete]


def test_ordinals_come_up_one_by_one(pod: Any, now: datetime) -> None:
    new = {"controller-revision-hash": "new"}
    assert step(stateful_set(), [], now) == ([0], [])
    assert step(stateful_set(), [pod("s-0", ready=False, labels=new)], now) == ([], [])
    assert step(stateful_set(), [pod("s-0", labels=new)], now) == ([1], [])
    assert step(stateful_set(podManagementPolicy="Parallel"), [], now) == ([0, 1, 2], [])
    assert step(stateful_set(2, ordinals={"start": 5}), [pod("s-5", labels=new)], now) == ([6], [])


def test_scaling_down_and_updating_go_from_the_top(pod: Any, now: datetime) -> None:
    new, old = {"controller-revision-hash": "new"}, {"controller-revision-hash": "old"}
    three = [pod(f"s-{n}", labels=old) for n in range(3)]
    assert step(stateful_set(1), three, now) == ([], ["s-2"])
    assert step(stateful_set(), three, now) == ([], ["s-2"])
    half = [*three[:2], pod("s-2", labels=new)]
    assert step(stateful_set(), half, now) == ([], ["s-1"])
    partition = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    assert step(stateful_set(updateStrategy=partition), half, now) == ([], [])
    assert step(stateful_set(updateStrategy={"type": "OnDelete"}), three, now) == ([], [])
    assert step(stateful_set(), [*three[:2], pod("s-2", labels=new, ready=False)], now) == ([], [])


def test_a_pod_of_a_stateful_set() -> None:
    template = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    target = stateful_set(volumeClaimTemplates=[template])
    made = pod_for(target, 2, REVISION)
    assert (made["metadata"]["name"], made["spec"]["hostname"], made["spec"]["subdomain"]) == ("s-2", "s-2", "svc")
    assert made["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-s-2"}}]
    assert made["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "2"
    assert "$patch" not in made["spec"]
    (claim,) = claims_for(target, 2)
    assert claim["metadata"] == {"name": "data-s-2", "namespace": "x", "labels": {"app": "s"}}
    assert template == {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}, "not changed"


# --- DaemonSet --------------------------------------------------------------------------------------------------------


def test_a_daemon_set_wants_nodes_that_fit() -> None:
    node = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"taints": [{"key": "t", "value": "v", "effect": "NoSchedule"}]},
    }

    def daemon(**spec: Any) -> dict[str, Any]:
        return {"spec": {"template": {"spec": spec}}}

    assert not fits(daemon(), node)
    assert fits(daemon(tolerations=[{"key": "t", "value": "v"}]), node)
    assert fits(daemon(tolerations=[{"operator": "Exists"}]), node)
    assert not fits(daemon(tolerations=[{"operator": "Exists"}], nodeSelector={"a": "c"}), node)
    assert not fits(daemon(tolerations=[{"key": "t", "value": "w"}]), node)


def test_a_daemon_set_keeps_one_pod(pod: Any) -> None:
    new, old = {"controller-revision-hash": "new"}, {"controller-revision-hash": "old"}
    daemon: dict[str, Any] = {"spec": {}}
    good, second, stale = pod("a", labels=new, age=90), pod("b", labels=new), pod("c", labels=old)
    assert to_delete(daemon, [good, second], True, "new") == [second]
    assert to_delete(daemon, [stale], True, "new") == [stale]
    assert to_delete({"spec": {"updateStrategy": {"type": "OnDelete"}}}, [stale], True, "new") == []
    assert to_delete(daemon, [good], False, "new") == [good]
    assert to_delete(daemon, [pod("d", labels=new, phase="Failed")], True, "new")


# --- endpoints --------------------------------------------------------------------------------------------------------


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "svc", "namespace": "x", "uid": "svc", "labels": {"l": "1"}},
        "spec": {"selector": {"app": "w"}, "ports": ports, "clusterIP": "10.0.0.9", **spec},
    }


def web(pod: Any, name: str, port: int = 8080, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = pod(name, ip=more.pop("ip", f"10.77.0.{len(name)}"), **more)
    made["spec"]["containers"] = [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]
    return made


@pytest.mark.parametrize(
    ("ready", "deleting", "published", "conditions"),
    [
        (True, False, False, (True, True, False)),
        (False, False, False, (False, False, False)),
        (True, True, False, (False, True, True)),
        (False, True, True, (True, False, True)),
        (False, False, True, (True, False, False)),
    ],
)
def test_conditions(
    pod: Any, ready: bool, deleting: bool, published: bool, conditions: tuple[bool, bool, bool]
) -> None:
    target = service(publishNotReadyAddresses=published)
    endpoint = slices.endpoint_for(target, web(pod, "a", ready=ready, deleting=deleting))
    names = ("ready", "serving", "terminating")
    assert endpoint["conditions"] == dict(zip(names, conditions, strict=True))


def test_named_ports_are_each_pods_own(pod: Any) -> None:
    made = slices.slices_for(service(), [web(pod, "a"), web(pod, "bb", 9090), web(pod, "ccc", phase="Succeeded")])
    assert [(s["ports"][0]["port"], s["endpoints"][0]["targetRef"]["name"]) for s in made] == [
        (8080, "a"),
        (9090, "bb"),
    ]
    assert len({s["metadata"]["name"] for s in made}) == 2
    lacking = slices.slices_for(service(ports=[{"name": "x", "port": 1, "targetPort": "nothing"}]), [web(pod, "a")])
    assert lacking[0]["ports"] == []
    number = slices.slices_for(service(ports=[{"port": 80}]), [web(pod, "a")])
    assert number[0]["ports"] == [{"name": "", "protocol": "TCP", "port": 80}]


def test_a_service_without_pods_has_an_empty_slice() -> None:
    (made,) = slices.slices_for(service(clusterIP="None"), [])
    assert made["endpoints"] == []
    assert made["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert made["metadata"]["labels"]["kubernetes.io/service-name"] == "svc"


def test_slices_hold_a_hundred(pod: Any) -> None:
    pods = [web(pod, f"p{n:03}", ip=f"10.77.1.{n}") for n in range(150)]
    made = slices.slices_for(service(), pods)
    assert [len(s["endpoints"]) for s in made] == [100, 50]
    assert slices.slices_for(service(), list(reversed(pods))) == made


def test_a_pod_of_a_headless_service_has_its_hostname(pod: Any) -> None:
    made = web(pod, "a")
    made["spec"] |= {"hostname": "s-0", "subdomain": "svc"}
    assert slices.endpoint_for(service(), made)["hostname"] == "s-0"
    made["spec"]["subdomain"] = "other"
    assert "hostname" not in slices.endpoint_for(service(), made)


def test_legacy_endpoints(pod: Any) -> None:
    made = slices.endpoints_for(
        service(), [web(pod, "a"), web(pod, "bb", ready=False), web(pod, "ccc", deleting=True), pod("no-address")]
    )
    (subset,) = made["subsets"]
    assert [entry["ip"] for entry in subset["addresses"]] == ["10.77.0.1"]
    assert [entry["ip"] for entry in subset["notReadyAddresses"]] == ["10.77.0.2"]


def test_only_what_matters_is_a_change(pod: Any) -> None:
    before, after = web(pod, "a"), web(pod, "a")
    after["metadata"]["annotations"] = {"x": "y"}
    assert slices.facts(before) == slices.facts(after)
    assert slices.facts(before) != slices.facts(web(pod, "a", ready=False))


# --- volumes ----------------------------------------------------------------------------------------------------------


def claim(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c", "namespace": "x", "uid": "u"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec},
    }


def volume(name: str, size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    base = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "slow"}
    return {"metadata": {"name": name}, "spec": base | spec, "status": {"phase": "Available"}}


def test_the_class_of_a_claim() -> None:
    classes = [binding.STANDARD_CLASS]
    assert binding.class_of(claim(), classes) == "standard"
    assert binding.class_of(claim(storageClassName=""), classes) == ""
    assert binding.class_of(claim(storageClassName="fast"), classes) == "fast"
    assert binding.class_of(claim(), []) == ""


def test_the_smallest_volume_that_fits_is_taken() -> None:
    volumes = [
        volume("big", "5Gi"),
        volume("fits", "2Gi"),
        volume("small", "1Mi"),
        volume("taken", claimRef={"namespace": "x", "name": "other", "uid": "o"}),
        volume("modes", accessModes=["ReadOnlyMany"]),
        volume("class", storageClassName="fast"),
    ]
    found = binding.find_volume(claim(), "slow", volumes)
    assert found is not None
    assert found["metadata"]["name"] == "fits"
    kept = volume("kept", "1Mi", storageClassName="any", claimRef={"namespace": "x", "name": "c"})
    assert binding.find_volume(claim(), "slow", [*volumes, kept]) is kept


@pytest.mark.parametrize(
    ("spec", "class_name", "known", "reason"),
    [
        ({}, "", False, "FailedBinding"),
        ({}, "fast", False, "ProvisioningFailed"),
        ({"volumeMode": "Block"}, "standard", True, "ProvisioningFailed"),
        ({"accessModes": ["Sometimes"]}, "standard", True, "ProvisioningFailed"),
        ({"selector": {"matchLabels": {"a": "b"}}}, "standard", True, "ProvisioningFailed"),
        ({}, "standard", True, None),
    ],
)
def test_refusals(spec: dict[str, Any], class_name: str, known: bool, reason: str | None) -> None:
    refusal = binding.refusal(claim(**spec), class_name, binding.STANDARD_CLASS if known else None)
    assert (refusal[0] if refusal else None) == reason


def test_the_volume_of_a_claim() -> None:
    made = binding.volume_for(claim(), binding.STANDARD_CLASS, Path("/volumes/x_c_u"))
    assert made["metadata"]["name"] == "pvc-u"
    assert made["spec"]["hostPath"] == {"path": "/volumes/x_c_u", "type": "DirectoryOrCreate"}
    assert made["spec"]["claimRef"]["uid"] == "u"
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Delete"


# --- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "healthy", "expected", "allowed"),
    [
        ({"maxUnavailable": 1}, 3, 3, 1),
        ({"maxUnavailable": 1}, 2, 3, 0),
        ({"minAvailable": 1}, 3, 3, 2),
        ({"minAvailable": "50%"}, 3, 3, 1),
        ({"maxUnavailable": "30%"}, 10, 10, 3),
        ({"minAvailable": 1}, 0, 0, 0),
    ],
)
def test_budgets(pod: Any, spec: dict[str, Any], healthy: int, expected: int, allowed: int) -> None:
    pods = [pod(f"h{n}") for n in range(healthy)]
    status = budget_status({"metadata": {"generation": 1}, "spec": spec}, pods, expected)
    assert status["disruptionsAllowed"] == allowed
    assert status["conditions"][0]["status"] == str(allowed > 0)
