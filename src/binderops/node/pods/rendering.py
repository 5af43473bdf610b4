"""A container of a pod as a libpod SpecGenerator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from binderops.kube.kinds import Object
from binderops.kube.objects import spec_of, uid_of
from binderops.node.pods import records, resources, security
from binderops.node.pods.expansion import expand
from binderops.node.pods.hosts import hostname
from binderops.node.pods.identity import Range, range_of
from binderops.podman.hooks import OWN_USERS

LOG_BYTES = 64 * 1024 * 1024
"""conmon begins a log anew at this size, so that one container cannot fill the disk."""


class Image(NamedTuple):
    """What the engine knows of an image that containers need."""

    id: str
    digest: str
    user: str
    stop_signal: str


class Machine(NamedTuple):
    """What rendering needs to know about the node."""

    name: str
    user_namespace: tuple[int, int]
    memory_bytes: int
    oom_score: int


class Binding(NamedTuple):
    """One mount of a container: a path of the machine at a path inside."""

    source: Path
    target: str
    read_only: bool
    propagation: str = "private"


def specification(
    pod: Object,
    container: Mapping[str, Any],
    *,
    attempt: int,
    image: Image,
    network: Path,
    environment: Mapping[str, str],
    mounts: list[Binding],
    log: Path,
    machine: Machine,
) -> dict[str, Any]:
    """The whole body of libpod's create; ContainerConfigError if the container must not run so."""
    result: dict[str, Any] = {
        "name": records.engine_name(pod, container["name"], attempt),
        "image": image.id,
        "labels": records.labels(machine.name, pod, container["name"], attempt),
        "hostname": hostname(pod),
        "netns": {"nsmode": "path", "value": str(network)},
        "use_image_hosts": True,
        "use_image_resolve_conf": True,
        "env": dict(environment),
        "env_host": False,
        "httpproxy": False,
        "image_volume_mode": "tmpfs" if _read_only_root(pod, container) else "anonymous",
        "cgroup_parent": f"/binderops/{machine.name}/{uid_of(pod)}",
        "resource_limits": resources.limits(container),
        "oom_score_adj": resources.oom_score_adjustment(
            pod, container, capacity=machine.memory_bytes, own=machine.oom_score
        ),
        "mounts": [_mount(binding) for binding in mounts],
        "log_configuration": {"driver": "k8s-file", "path": str(log), "size": LOG_BYTES},
        "terminal": bool(container.get("tty")),
        "stdin": bool(container.get("stdin")),
        "stop_signal": records.signal_number(image.stop_signal or "SIGTERM"),
        "stop_timeout": _grace(pod),
        "systemd": "false",
        "sdnotifyMode": "ignore",
        **security.specification(pod, container, image_user=image.user),
        **_command(container, environment),
    }
    if container.get("workingDir"):
        result["work_dir"] = str(container["workingDir"])
    if users := range_of(pod, machine.user_namespace):
        result |= _user_namespace(users)
    return result


def _command(container: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, list[str]]:
    """`command` replaces the image's entrypoint and, without `args`, its arguments too (as Podman has it)."""
    result = {}
    if container.get("command"):
        result["entrypoint"] = [expand(str(word), environment) for word in container["command"]]
    if container.get("args"):
        result["command"] = [expand(str(word), environment) for word in container["args"]]
    return result


def _grace(pod: Object) -> int:
    grace = spec_of(pod).get("terminationGracePeriodSeconds")
    return 30 if grace is None else int(grace)


def _mount(binding: Binding) -> dict[str, Any]:
    options = ["rbind", "ro" if binding.read_only else "rw", f"r{binding.propagation}"]
    return {"type": "bind", "source": str(binding.source), "destination": binding.target, "options": options}


def _user_namespace(mapping: Range) -> dict[str, Any]:
    entries = [{"container_id": 0, "host_id": mapping[0], "size": mapping[1]}]
    return {
        "userns": {"nsmode": "private"},
        "idmappings": {"UIDMap": entries, "GIDMap": entries},
        "annotations": {OWN_USERS: "own"},
    }


def _read_only_root(pod: Object, container: Mapping[str, Any]) -> bool:
    return bool(security.effective(pod, container).get("readOnlyRootFilesystem"))
