"""What an object waits for, in words, and when no waiting will mend it."""

from __future__ import annotations

from typing import Any

import pytest

from binderops.delivery.readiness import CrashesSince, Verdict, assess, assess_pod
from binderops.node.pods.admission import refusal

LABELS = {"app": "hub"}
# As the node itself says it of a pod that it cannot run.
_REFUSAL = refusal({"spec": {"hostPID": True}}, node={"metadata": {"name": "n"}}, others=[])
UNSUPPORTED = _REFUSAL.reason if _REFUSAL else ""


def deployment(*, wanted: int = 1, generation: int = 1, **status: Any) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": "hub", "generation": generation},
        "spec": {"replicas": wanted, "selector": {"matchLabels": LABELS}},
        "status": {"observedGeneration": 1, **status},
    }


def pod(
    *containers: dict[str, Any], phase: str = "Running", conditions: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    return {
        "metadata": {"name": "hub-1", "labels": LABELS},
        "status": {"phase": phase, "containerStatuses": list(containers), "conditions": conditions or []},
    }


def waiting(reason: str, message: str = "", *, restarts: int = 0, last: dict[str, Any] | None = None) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {
        "name": "hub",
        "image": "some/image:1",
        "state": state,
        "restartCount": restarts,
        "lastState": {"terminated": last} if last else {},
    }


READY_STATUS = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
CRASH = {"exitCode": 3, "reason": "Error"}

WORKLOADS = [
    (deployment(**READY_STATUS), [], Verdict.READY, ""),
    (deployment(wanted=0), [], Verdict.READY, ""),
    (deployment(generation=2, **READY_STATUS), [], Verdict.WAITING, "not seen by its controller"),
    (deployment(wanted=2, **READY_STATUS), [], Verdict.WAITING, "1 of 2 ready"),
    (deployment(**{**READY_STATUS, "replicas": 2}), [], Verdict.WAITING, "1 of 1 ready"),
    (
        deployment(),
        [pod(waiting("ImagePullBackOff", "no such host"))],
        Verdict.WAITING,
        "cannot pull some/image:1: no such host",
    ),
    (deployment(), [pod(waiting("ErrImageNeverPull"))], Verdict.FAILED, "not on this machine"),
    (deployment(), [pod(waiting("CreateContainerConfigError", 'secret "x"'))], Verdict.FAILED, "is missing"),
    (deployment(), [pod(waiting("CrashLoopBackOff", restarts=1, last=CRASH))], Verdict.WAITING, "crashed 2 times"),
    (deployment(), [pod(waiting("CrashLoopBackOff", restarts=2, last=CRASH))], Verdict.FAILED, "crashed 3 times"),
    (deployment(), [pod(waiting("CrashLoopBackOff", restarts=3, last=CRASH))], Verdict.FAILED, "exit code 3"),
    (
        deployment(),
        [pod(waiting("CrashLoopBackOff", restarts=4, last={"exitCode": 137, "reason": "OOMKilled"}))],
        Verdict.FAILED,
        "out of memory",
    ),
    (
        deployment(),
        [pod({"name": "hub", "state": {"running": {}}, "ready": False})],
        Verdict.WAITING,
        "probe has not passed",
    ),
    (
        deployment(),
        [pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": "no room"}])],
        Verdict.WAITING,
        "no room",
    ),
    (
        deployment(),
        [
            pod(
                phase="Pending",
                conditions=[{"type": "PodScheduled", "status": "False", "reason": UNSUPPORTED, "message": "hostPID"}],
            )
        ],
        Verdict.FAILED,
        "hostPID",
    ),
]


@pytest.mark.parametrize(("obj", "pods", "verdict", "words"), WORKLOADS)
def test_workloads(obj: dict[str, Any], pods: list[dict[str, Any]], verdict: Verdict, words: str) -> None:
    found = assess(obj, pods)
    assert (found.verdict, words in found.reason) == (verdict, True), found


def test_a_crash_names_the_container_whose_log_explains_it() -> None:
    found = assess(deployment(), [pod(waiting("CrashLoopBackOff", restarts=3, last=CRASH))])
    assert found.crashed == ("hub-1", "hub")


def test_what_a_node_restarted_before_we_looked_is_no_crash() -> None:
    crashes = CrashesSince()
    creating = pod(waiting("ContainerCreating", restarts=4))
    assert assess(deployment(), crashes.counted([creating])).verdict is Verdict.WAITING
    once = pod(waiting("CrashLoopBackOff", restarts=5, last=CRASH))
    found = assess(deployment(), crashes.counted([once]))
    assert (found.verdict, "crashed 2 times" in found.reason) == (Verdict.WAITING, True)
    thrice = pod(waiting("CrashLoopBackOff", restarts=7, last=CRASH))
    assert assess(deployment(), crashes.counted([thrice])).verdict is Verdict.FAILED


def test_what_crashes_already_at_the_first_look_fails_at_once() -> None:
    looping = pod(waiting("CrashLoopBackOff", restarts=5, last=CRASH))
    assert assess(deployment(), CrashesSince().counted([looping])).verdict is Verdict.FAILED


def test_pods_of_others_do_not_count() -> None:
    other = pod(waiting("ErrImageNeverPull"))
    other["metadata"]["labels"] = {"app": "proxy"}
    assert assess(deployment(), [other]).verdict is Verdict.WAITING


@pytest.mark.parametrize(
    ("obj", "verdict"),
    [
        ({"kind": "PersistentVolumeClaim", "status": {"phase": "Bound"}}, Verdict.READY),
        ({"kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}}, Verdict.WAITING),
        ({"kind": "Service", "spec": {"type": "ClusterIP"}}, Verdict.READY),
        ({"kind": "Service", "spec": {"type": "LoadBalancer"}}, Verdict.WAITING),
        (
            {
                "kind": "Service",
                "spec": {"type": "LoadBalancer"},
                "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}},
            },
            Verdict.READY,
        ),
        ({"kind": "Job", "status": {"conditions": [{"type": "Complete", "status": "True"}]}}, Verdict.READY),
        ({"kind": "Job", "status": {"conditions": [{"type": "Failed", "status": "True"}]}}, Verdict.FAILED),
        ({"kind": "Job", "status": {}}, Verdict.WAITING),
        ({"kind": "ConfigMap"}, Verdict.READY),
    ],
)
def test_other_kinds(obj: dict[str, Any], verdict: Verdict) -> None:
    assert assess(obj, []).verdict is verdict


def test_a_failed_pod_says_why() -> None:
    failed = {"metadata": {"name": "p"}, "status": {"phase": "Failed", "reason": "Evicted", "message": "disk pressure"}}
    assert assess_pod(failed).verdict is Verdict.FAILED
    assert "disk pressure" in assess_pod(failed).reason


def test_the_back_off_of_a_node_that_was_stopped_after_crashes_is_no_crash() -> None:
    """Killed a few times, then stopped with its node: at the next start it waits for its back-off, and is well."""
    stopped = pod(waiting("CrashLoopBackOff", restarts=3, last={"exitCode": 143, "reason": "Error"}))
    crashes = CrashesSince()
    assert assess(deployment(), crashes.counted([stopped])).verdict is Verdict.WAITING
    again = pod(waiting("CrashLoopBackOff", restarts=5, last=CRASH))
    assert assess(deployment(), crashes.counted([again])).verdict is Verdict.FAILED
    at_once = pod(waiting("CrashLoopBackOff", restarts=3, last=CRASH))
    assert assess(deployment(), CrashesSince().counted([at_once])).verdict is Verdict.FAILED
