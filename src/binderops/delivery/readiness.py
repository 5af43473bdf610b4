"""Whether each object of a release is ready, and if not, what it waits for.

Pure functions over objects as the API gives them. Three answers: ready; waiting, with the reason; or failed, with a
reason that no waiting will mend, so that a deployment fails at once and not at its timeout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from binderops.kube.objects import condition, labels_of, name_of, spec_of, status_of
from binderops.kube.selectors import from_label_selector

Object = Mapping[str, Any]

# The first restart is at once, the second 10 s later: what crashed again then, crashes each time.
_RESTARTS_UNTIL_FAILED = 2
_STOPPED = 128 + 15  # ended by SIGTERM
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(?:: )?(?:(?:ErrImagePull|ImagePullBackOff): )?')
_HOPELESS = {
    "ErrImageNeverPull": "its image is not on this machine and must not be pulled",
    "InvalidImageName": "its image's name is not valid",
    "CreateContainerConfigError": "a ConfigMap or Secret that it names is missing",
}


class Verdict(Enum):
    """What can be said of an object."""

    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True)
class FailingPull:
    """An image that `where` (pod/container) could not pull so far; `said` is the engine's reason, where it tells."""

    where: str
    image: str
    said: str = field(compare=False)


@dataclass(frozen=True)
class Assessment:
    """A verdict with its reason in words, and with what helps to mend it.

    `crashed` names (pod, container) whose last log lines explain it. `pull` is judged further by how long it lasts.
    """

    verdict: Verdict
    reason: str = ""
    crashed: tuple[str, str] | None = None
    pull: FailingPull | None = None
    hint: str | None = None


READY = Assessment(Verdict.READY)


def assess(obj: Object, pods: Iterable[Object]) -> Assessment:
    """Judges one live object of a release; `pods` are all pods of its namespace."""
    match obj.get("kind"):
        case "Deployment" | "StatefulSet" | "DaemonSet":
            return _workload(obj, pods)
        case "Job":
            return _job(obj)
        case "PersistentVolumeClaim":
            phase = status_of(obj).get("phase", "Pending")
            return READY if phase == "Bound" else Assessment(Verdict.WAITING, f"volume claim is {phase}")
        case "Service":
            return _service(obj)
        case _:
            return READY


def _workload(obj: Object, pods: Iterable[Object]) -> Assessment:
    status, spec = status_of(obj), spec_of(obj)
    if int(status.get("observedGeneration") or 0) < int(obj["metadata"].get("generation") or 1):
        return Assessment(Verdict.WAITING, "not seen by its controller yet")
    wanted = _wanted(obj, spec, status)
    updated = int(status.get("updatedReplicas", status.get("updatedNumberScheduled")) or 0)
    ready = int(status.get("readyReplicas", status.get("numberReady")) or 0)
    total = int(status.get("replicas", status.get("desiredNumberScheduled")) or 0)
    if updated >= wanted and ready >= wanted and total <= wanted:
        return READY
    selector = from_label_selector(spec.get("selector"))
    mine = [pod for pod in pods if selector.matches(labels_of(pod))]
    found = [assess_pod(pod) for pod in mine if not pod["metadata"].get("deletionTimestamp")]
    for verdict in (Verdict.FAILED, Verdict.WAITING):
        for assessment in found:
            if assessment.verdict is verdict:
                return assessment
    progressing = condition(obj, "ReplicaFailure")
    if progressing and progressing.get("status") == "True":
        return Assessment(Verdict.FAILED, str(progressing.get("message", "no pod can be made")))
    return Assessment(Verdict.WAITING, f"{ready} of {wanted} ready")


def _wanted(obj: Object, spec: Object, status: Object) -> int:
    if obj.get("kind") == "DaemonSet":
        return int(status.get("desiredNumberScheduled", 1))
    return int(spec.get("replicas", 1))


def assess_pod(pod: Object) -> Assessment:
    """Judges one pod by its containers' states and its conditions."""
    status, name = status_of(pod), name_of(pod)
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        found = _container(name, container)
        if found:
            return found
    if status.get("phase") == "Failed":
        return Assessment(Verdict.FAILED, f"pod {name} failed: {status.get('message') or status.get('reason') or ''}")
    ready = condition(pod, "Ready")
    if ready and ready.get("status") == "True":
        return READY
    scheduled = condition(pod, "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        verdict = Verdict.FAILED if scheduled.get("reason") == "Unsupported" else Verdict.WAITING
        return Assessment(verdict, f"pod {name} has no place: {scheduled.get('message', '')}")
    return Assessment(Verdict.WAITING, f"pod {name} {_not_ready_because(status)}")


class CrashesSince:
    """Pods with their restarts counted from the first look: a node that was stopped counts as one, and is no crash.

    A container that is in its back-off at the first look has crashed already: its count stands, unless what ended it
    last was a signal to stop. A stop with the back-off that came of it is no crash, and should it be one (a liveness
    probe's), it is seen again within two restarts.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[str, str], int] = {}

    def counted(self, pods: Iterable[Object]) -> list[Object]:
        """The pods as `assess` wants them."""
        return [{**pod, "status": self._status(str(pod["metadata"].get("uid")), status_of(pod))} for pod in pods]

    def _status(self, uid: str, status: Object) -> Object:
        kinds = ("initContainerStatuses", "containerStatuses")
        return {**status, **{kind: [self._lowered(uid, entry) for entry in status.get(kind, [])] for kind in kinds}}

    def _lowered(self, uid: str, container: Object) -> Object:
        count = int(container.get("restartCount") or 0)
        waiting = (container.get("state") or {}).get("waiting") or {}
        last = (container.get("lastState") or {}).get("terminated") or {}
        crashed = waiting.get("reason") == "CrashLoopBackOff" and last.get("exitCode") != _STOPPED
        first = 0 if crashed else count
        before = self._before.setdefault((uid, str(container.get("name"))), first)
        return {**container, "restartCount": count - before}


def _container(pod: str, container: Object) -> Assessment | None:
    state = container.get("state") or {}
    waiting, last = state.get("waiting"), (container.get("lastState") or {}).get("terminated")
    if not waiting:
        return None
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    where = f"{pod}/{container.get('name')}"
    if reason in _HOPELESS:
        return Assessment(Verdict.FAILED, f"{where}: {_HOPELESS[reason]}: {message}")
    if reason in {"ErrImagePull", "ImagePullBackOff"}:
        pull = FailingPull(where, str(container.get("image")), _BACK_OFF.sub("", message))
        return Assessment(Verdict.WAITING, f"{where} cannot pull {pull.image}: {pull.said or message}", pull=pull)
    if reason == "CrashLoopBackOff" and last:
        restarts = int(container.get("restartCount") or 0)
        said = f"{where} crashed {restarts + 1} times, last with exit code {last.get('exitCode')}"
        if last.get("reason") == "OOMKilled":
            said = f"{where} ran out of memory"
        hopeless = restarts >= _RESTARTS_UNTIL_FAILED
        return Assessment(Verdict.FAILED if hopeless else Verdict.WAITING, said, (pod, str(container.get("name"))))
    return None


def _not_ready_because(status: Object) -> str:
    for container in status.get("containerStatuses", []):
        state = container.get("state") or {}
        if "running" in state and not container.get("ready"):
            return f"runs, but {container.get('name')}'s probe has not passed"
        if "waiting" in state:
            return f"waits: {state['waiting'].get('reason', 'starting')}"
    return f"is {status.get('phase', 'Pending')}"


def _job(obj: Object) -> Assessment:
    for kind, verdict in (("Complete", Verdict.READY), ("Failed", Verdict.FAILED)):
        found = condition(obj, kind)
        if found and found.get("status") == "True":
            return Assessment(verdict, str(found.get("message", "")))
    return Assessment(Verdict.WAITING, "job is running")


def _service(obj: Object) -> Assessment:
    if spec_of(obj).get("type") != "LoadBalancer":
        return READY
    if (status_of(obj).get("loadBalancer") or {}).get("ingress"):
        return READY
    return Assessment(Verdict.WAITING, "has no public address yet")
