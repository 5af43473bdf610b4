"""A pod's status, computed from what is known about its containers. Pure: the same knowledge, the same status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from binderops.kube.kinds import Object
from binderops.kube.objects import conditions_of, metadata_of, set_condition, spec_of, status_of, timestamp
from binderops.node.pods.records import LOST, LOST_EXIT_CODE, Record
from binderops.node.pods.resources import qos_class
from binderops.node.pods.restarts import restarts_after

Role = Literal["init", "sidecar", "app"]
CONDITIONS = ("PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")
"""The conditions that this node keeps; others (readiness gates) are somebody else's."""


@dataclass
class View:
    """What is known of one container. `waiting` is (reason, message); `digest` names the image that runs.

    `fetching`: what is being done to it is only that its image is fetched, which can be given up at any moment.
    """

    spec: Mapping[str, Any]
    role: Role
    record: Record | None = None
    previous: Record | None = None
    waiting: tuple[str, str] = ("ContainerCreating", "")
    ready: bool = False
    started: bool = False
    digest: str = ""
    fetching: bool = False
    message: str = ""
    previous_message: str = ""

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.spec["name"])

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.record is not None and self.record.state == "running"

    @property
    def exited(self) -> bool:
        """Whether its last attempt has ended."""
        return self.record is not None and self.record.state == "exited"

    @property
    def succeeded(self) -> bool:
        """Whether its last attempt has ended well."""
        return self.exited and self.record is not None and self.record.exit_code == 0


class PodFacts(NamedTuple):
    """What is known of the pod as a whole; `failure` is (reason, message) where it failed as a whole.

    `ending`: something of it runs still, or is being started.
    """

    host_address: str
    address: str | None
    start_time: str
    network_ready: bool
    initialized: bool
    failure: tuple[str, str] | None = None
    ending: bool = False
    phase: str | None = None


def roles_of(pod: Object) -> list[tuple[Mapping[str, Any], Role]]:
    """Every container of a pod with its role, init containers first."""
    spec = spec_of(pod)
    init = [(c, "sidecar" if c.get("restartPolicy") == "Always" else "init") for c in spec.get("initContainers") or []]
    return [*init, *((c, "app") for c in spec.get("containers") or [])]  # type: ignore[list-item]


def pod_status(pod: Object, views: Sequence[View], facts: PodFacts, *, before: Object | None = None) -> Object:
    """The whole status of `pod`; `before` is the one that was written last (the API's copy may lag behind it)."""
    current = facts.phase or phase(pod, views, facts)
    status: Object = {
        "phase": current,
        "conditions": _conditions(pod, views, facts, current, before or {}),
        "hostIP": facts.host_address,
        "hostIPs": [{"ip": facts.host_address}],
        "startTime": facts.start_time,
        "qosClass": status_of(pod).get("qosClass") or qos_class(pod),
        "containerStatuses": [_container_status(pod, view, facts) for view in views if view.role == "app"],
        "reason": facts.failure[0] if facts.failure and current == "Failed" else None,
        "message": facts.failure[1] if facts.failure and current == "Failed" else None,
    }
    if metadata_of(pod).get("generation") is not None:
        status["observedGeneration"] = metadata_of(pod)["generation"]
    init = [_container_status(pod, view, facts) for view in views if view.role != "app"]
    if init:
        status["initContainerStatuses"] = init
    if facts.address:
        status["podIP"] = facts.address
        status["podIPs"] = [{"ip": facts.address}]
    return status


def phase(pod: Object, views: Sequence[View], facts: PodFacts) -> str:
    """Pending, Running, Succeeded or Failed (kubernetes/pkg/kubelet, getPhase).

    A pod that failed as a whole is Failed only once nothing of it runs (its status manager, mergePodStatus).
    """
    if facts.failure and not facts.ending:
        return "Failed"
    policy = str(spec_of(pod).get("restartPolicy") or "Always")
    if not facts.initialized:
        failed = any(v.role == "init" and v.exited and not v.succeeded for v in views)
        return "Failed" if failed and policy == "Never" else "Pending"
    apps = [view for view in views if view.role == "app"]
    if any(view.record is None for view in apps):
        return "Pending"
    if any(view.running for view in apps):
        return "Running"
    if any(view.record is not None and restarts_after(policy, view.record.exit_code) for view in apps):
        return "Running"
    return "Succeeded" if all(view.succeeded for view in apps) else "Failed"


def _container_status(pod: Object, view: View, facts: PodFacts) -> Object:
    record = view.record
    policy = "Always" if view.role == "sidecar" else str(spec_of(pod).get("restartPolicy") or "Always")
    terminal = facts.failure is not None or facts.phase in ("Succeeded", "Failed")
    # An init container that has done its work is ready; the others are while they run and their probe says so.
    ready = view.succeeded if view.role == "init" else view.running and view.ready
    status: Object = {
        "name": view.name,
        "image": str(view.spec.get("image") or ""),
        "imageID": view.digest,
        "ready": ready,
        "started": view.running and view.started,
        "restartCount": record.attempt if record else 0,
        "state": {},
        "lastState": {},
    }
    if record is not None:
        status["containerID"] = f"podman://{record.id}"
    if view.previous is not None:
        status["lastState"] = {"terminated": terminated(view.previous, view.previous_message)}
    if record is None:
        status["state"] = _state_without_record(view, facts, over=terminal and not facts.ending)
    elif record.state == "running":
        status["state"] = {"running": {"startedAt": _time(record.started_at)}}
    elif not terminal and restarts_after(_policy_of(view, policy), record.exit_code):
        status["state"] = {"waiting": _waiting(view)}
        status["lastState"] = {"terminated": terminated(record, view.message)}
    else:
        status["state"] = {"terminated": terminated(record, view.message)}
    return status


def _state_without_record(view: View, facts: PodFacts, *, over: bool) -> Object:
    # Until the init containers are done, an app container waits for them, not for itself.
    if view.role == "app" and not facts.initialized:
        return {"waiting": {"reason": "PodInitializing"}}
    if over and facts.initialized:
        # As the kubelet's TerminatePod: what is missing where the pod had come as far as this, has failed.
        return {"terminated": {"exitCode": LOST_EXIT_CODE, "reason": "ContainerStatusUnknown", "message": LOST}}
    return {"waiting": _waiting(view)}


def _policy_of(view: View, policy: str) -> str:
    """An init container that succeeded is not run again, whatever the pod's policy."""
    return "OnFailure" if view.role == "init" and policy == "Always" else policy


def terminated(record: Record, message: str) -> Object:
    """A `terminated` state. A container that could not start has exit code 128 and its error as the message."""
    state: Object = {
        "exitCode": record.exit_code,
        "reason": _reason(record),
        "startedAt": _time(record.started_at),
        "finishedAt": _time(record.finished_at),
        "containerID": f"podman://{record.id}",
    }
    text = message or record.error
    if text:
        state["message"] = text
    return state


def _reason(record: Record) -> str:
    if record.oom_killed:
        return "OOMKilled"
    if record.error:
        return "StartError" if record.exit_code == 128 else "ContainerStatusUnknown"
    return "Completed" if record.exit_code == 0 else "Error"


def _waiting(view: View) -> Object:
    reason, message = view.waiting
    return {"reason": reason, **({"message": message} if message else {})}


def _conditions(pod: Object, views: Sequence[View], facts: PodFacts, current: str, before: Object) -> list[Object]:
    apps = [view for view in views if view.role != "init"]
    unready = [view.name for view in apps if not (view.running and view.ready)]
    done = current in ("Succeeded", "Failed")
    foreign = [entry for entry in conditions_of(pod) if entry.get("type") not in CONDITIONS]
    known = before.get("conditions") or conditions_of(pod)
    conditions = [*(entry for entry in known if entry.get("type") in CONDITIONS), *foreign]

    def put(kind: str, good: bool, reason: str = "", message: str = "") -> None:
        nonlocal conditions
        new: Object = {"type": kind, "status": "True" if good else "False"}
        if not good and reason:
            new |= {"reason": reason, "message": message}
        conditions = set_condition(conditions, new)

    put("PodScheduled", True)
    put("PodReadyToStartContainers", facts.network_ready and not done)
    incomplete = [view.name for view in views if view.role == "init" and not view.succeeded]
    message = f"containers with incomplete status: [{' '.join(incomplete)}]"
    put("Initialized", facts.initialized or current == "Succeeded", "ContainersNotInitialized", message)
    reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(current, "ContainersNotReady")
    message = "" if done else f"containers with unready status: [{' '.join(unready)}]"
    ready = facts.initialized and not unready and not done
    put("ContainersReady", ready, reason, message)
    gates = [str(gate["conditionType"]) for gate in spec_of(pod).get("readinessGates") or []]
    states = {str(entry["type"]): entry.get("status") for entry in conditions}
    closed = [gate for gate in gates if states.get(gate) != "True"]
    if ready and closed:
        put(
            "Ready",
            False,
            "ReadinessGatesNotReady",
            f"corresponding condition of pod readiness gates {closed} not true",
        )
    else:
        put("Ready", ready, reason, message)
    return conditions


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
