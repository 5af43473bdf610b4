"""A pod in a few words, as kubectl's users know it: its containers' most telling state, and how many are ready."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Object = Mapping[str, Any]


class PodSummary(NamedTuple):
    """The STATUS word, how many of how many containers are ready, restarts, and when the last was ("" for none)."""

    status: str
    ready: int
    total: int
    restarts: int
    last_restart: str


def summary(pod: Object) -> PodSummary:
    """What `kubectl get pods` prints of a pod (kubernetes/pkg/printers/internalversion, printPod)."""
    spec, status, metadata = pod.get("spec") or {}, pod.get("status") or {}, pod.get("metadata") or {}
    reason = str(status.get("reason") or status.get("phase") or "Unknown")
    waiting_gates = any(
        each.get("type") == "PodScheduled" and each.get("reason") == "SchedulingGated"
        for each in status.get("conditions") or []
    )
    if waiting_gates:
        reason = "SchedulingGated"
    reason_of_init, restarts, last, sidecars = _init_status(pod)
    ready = sidecars
    if reason_of_init:
        reason = reason_of_init
    else:
        reason, ready, restarts, last = _main_status(pod, reason, sidecars, restarts, last)
    if metadata.get("deletionTimestamp") and status.get("reason") == "NodeLost":
        reason = "Unknown"
    elif metadata.get("deletionTimestamp") and status.get("phase") not in ("Succeeded", "Failed"):
        reason = "Terminating"
    total = len(spec.get("containers") or []) + sum(
        each.get("restartPolicy") == "Always" for each in spec.get("initContainers") or []
    )
    return PodSummary(reason, ready, total, restarts, last)


def _init_status(pod: Object) -> tuple[str, int, str, int]:
    """`Init:…` while init containers are at work (else ""), restarts, the last one's time, and the ready sidecars."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    always = {
        str(each.get("name")) for each in spec.get("initContainers") or [] if each.get("restartPolicy") == "Always"
    }
    total = len(spec.get("initContainers") or [])
    restarts, last, sidecars = 0, "", 0
    for index, each in enumerate(status.get("initContainerStatuses") or []):
        sidecar = each.get("name") in always
        restarts += int(each.get("restartCount") or 0)
        last = max(last, _last_finished(each))
        if sidecar and each.get("ready"):
            sidecars += 1
        state = each.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if sidecar and each.get("started"):
            continue
        if ended is not None:
            return f"Init:{_ended_reason(ended)}", restarts, last, sidecars
        if waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}", restarts, last, sidecars
        return f"Init:{index}/{total}", restarts, last, sidecars
    return "", restarts, last, sidecars


def _main_status(pod: Object, reason: str, ready: int, restarts: int, last: str) -> tuple[str, int, int, str]:
    status = pod.get("status") or {}
    running = False
    restarts = restarts if ready else 0
    for each in reversed(status.get("containerStatuses") or []):
        restarts += int(each.get("restartCount") or 0)
        last = max(last, _last_finished(each))
        state = each.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if waiting is not None and waiting.get("reason"):
            reason = str(waiting["reason"])
        elif ended is not None:
            reason = _ended_reason(ended)
        elif each.get("ready") and state.get("running") is not None:
            running = True
            ready += 1
    if reason == "Completed" and running:
        is_ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or [])
        reason = "Running" if is_ready else "NotReady"
    return reason, ready, restarts, last


def _ended_reason(ended: Object) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _last_finished(container: Object) -> str:
    return str(((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or "")
