"""What the engine says of one container, as a value; the labels by which it is found again after a restart."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from binderops.kube.kinds import Object
from binderops.kube.objects import name_of, namespace_of, parse_timestamp, uid_of

PREFIX = "binderops.dev/"
NODE = PREFIX + "node"
POD_UID = PREFIX + "pod-uid"
POD_NAME = PREFIX + "pod-name"
POD_NAMESPACE = PREFIX + "pod-namespace"
CONTAINER = PREFIX + "container"
ATTEMPT = PREFIX + "attempt"

LOST_EXIT_CODE = 137
LOST = "The container could not be located when the pod was terminated"
State = Literal["created", "running", "exited"]


class Record(NamedTuple):
    """One attempt at running one container of a pod; times are None where the engine has none yet.

    `monitor` is the process that watches the container's, `pid`; `written` are the folders of this machine where the
    engine keeps what it writes: its layer, and the volumes that its image declares.
    """

    id: str
    pod_uid: str
    container: str
    attempt: int
    state: State
    exit_code: int
    oom_killed: bool
    error: str
    started_at: datetime | None
    finished_at: datetime | None
    image_id: str
    log: str
    pid: int = 0
    monitor: int = 0
    written: tuple[str, ...] = ()


def labels(node: str, pod: Object, container: str, attempt: int) -> dict[str, str]:
    """The labels of one attempt."""
    return {
        NODE: node,
        POD_UID: uid_of(pod),
        POD_NAME: name_of(pod),
        POD_NAMESPACE: namespace_of(pod),
        CONTAINER: container,
        ATTEMPT: str(attempt),
    }


def full_name(pod: Object) -> str:
    """The pod as the kubelet's messages name it."""
    return f"{name_of(pod)}_{namespace_of(pod)}({uid_of(pod)})"


def engine_name(pod: Object, container: str, attempt: int) -> str:
    """The engine's name of one attempt: unique on the machine, readable in `podman ps`."""
    return f"k8s_{container}_{name_of(pod)}_{namespace_of(pod)}_{uid_of(pod)}_{attempt}"


def record_of(inspected: Mapping[str, Any]) -> Record:
    """A record from `podman inspect`."""
    state = inspected.get("State") or {}
    found = (inspected.get("Config") or {}).get("Labels") or {}
    status = str(state.get("Status", ""))
    return Record(
        id=str(inspected["Id"]),
        pod_uid=str(found.get(POD_UID, "")),
        container=str(found.get(CONTAINER, "")),
        attempt=int(found.get(ATTEMPT, "0")),
        state=_state(status),
        # The engine's -1 says that nobody noted how it ended.
        exit_code=code if (code := int(state.get("ExitCode") or 0)) >= 0 else LOST_EXIT_CODE,
        oom_killed=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        started_at=_time(state.get("StartedAt")),
        finished_at=_time(state.get("FinishedAt")),
        image_id=str(inspected.get("Image") or ""),
        log=str(((inspected.get("HostConfig") or {}).get("LogConfig") or {}).get("Path") or ""),
        pid=int(state.get("Pid") or 0),
        monitor=int(state.get("ConmonPid") or 0),
        written=tuple(_written(inspected)),
    )


def _written(inspected: Mapping[str, Any]) -> Iterator[str]:
    if layer := ((inspected.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir"):
        yield str(layer)
    for mount in inspected.get("Mounts") or ():
        if mount.get("Type") == "volume":
            yield str(mount["Source"])


def lost(pod: Object, entry: Mapping[str, Any]) -> Record:
    """A record for a container that the engine does not know any more, from its last status in the API.

    One that ran then ended unseen: nobody can say how (the kubelet's exit code for that is 137).
    """
    state = entry.get("state") or {}
    ended = state.get("terminated") or {}
    began = ended.get("startedAt") or (state.get("running") or {}).get("startedAt")
    finished = ended.get("finishedAt")
    return Record(
        id=str(entry.get("containerID") or "").removeprefix("podman://"),
        pod_uid=uid_of(pod),
        container=str(entry["name"]),
        attempt=int(entry.get("restartCount") or 0),
        state="exited",
        exit_code=int(ended.get("exitCode", LOST_EXIT_CODE)),
        oom_killed=ended.get("reason") == "OOMKilled",
        error="" if ended else LOST,
        started_at=parse_timestamp(str(began)) if began else None,
        finished_at=parse_timestamp(str(finished)) if finished else datetime.now(UTC),
        image_id=str(entry.get("imageID") or ""),
        log="",
    )


def _state(status: str) -> State:
    if status in ("running", "paused", "stopping"):
        return "running"
    return "created" if status in ("created", "configured", "initialized") else "exited"


def _time(text: object) -> datetime | None:
    """Go's RFC 3339 with nanoseconds (which fromisoformat cannot read) or its zero time."""
    if not isinstance(text, str) or text.startswith("0001-"):
        return None
    head, _, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    zone = rest[digits:] if rest else ""
    if not rest:
        return datetime.fromisoformat(text).astimezone(UTC)
    return datetime.fromisoformat(f"{head}.{rest[:digits][:6].ljust(6, '0')}{zone}").astimezone(UTC)


def signal_number(name: str) -> int:
    """The number of a stop signal as images write it ("SIGTERM", "TERM", "15"); SIGTERM for anything else."""
    if name.isdigit():
        return int(name)
    wanted = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    return next((number.value for number in signal.Signals if number.name == wanted), signal.SIGTERM.value)
