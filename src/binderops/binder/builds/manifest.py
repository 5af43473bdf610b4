"""The pod of one build: unprivileged, in a user namespace of its own, without an API token or an engine's socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from binderops.authorities import ADDED_VARIABLE
from binderops.binder.builds.trees import FetchTree
from binderops.binder.settings import Settings
from binderops.binder.values import Machine

CONTAINER = "builder"
COMPONENT = "binderhub-build"
SELECTOR = f"component={COMPONENT}"
REGISTRY_USER = "build"
PLACE_TAG = "image"
# What a build pod is for, and where it pushes: a binder that was started later reads both from the pod.
IMAGE_ANNOTATION = "binderops.dev/image"
PLACE_ANNOTATION = "binderops.dev/build-place"
_LOGIN = "CONTAINER_ENGINE_REGISTRY_CREDENTIALS"
_MACHINE = "/etc/binderhub/machine"
_AUTHORITIES = f"{_MACHINE}/ca.crt"
_DEDICATED = ("hub.jupyter.org/dedicated", "hub.jupyter.org_dedicated")


@dataclass(frozen=True)
class BuildRequest:
    """What is to be built. Two requests with the same `name` are the same build."""

    name: str
    image: str
    repo_url: str
    ref: str
    artifact: str = ""
    git_credentials: str = ""
    fetch_tree: FetchTree | None = None
    """How the binder itself looks at the files; None where only a build does."""


def build_pod(settings: Settings, request: BuildRequest, credential: str, *, place: str) -> dict[str, Any]:
    """The manifest; `credential` is this build's own password for the registry, `place` the repository it pushes to."""
    environment = {
        **_machine_environment(settings.common.machine),
        **settings.build.extra_envs,
        **_own_environment(settings, request, credential),
    }
    container = {
        "command": ["python", "-m", "binderops.build"],
        "args": arguments(settings, request, f"{settings.build_registry}/{place}:{PLACE_TAG}"),
        "resources": _resources(settings),
        # SYS_ADMIN counts only inside the pod's own user namespace: buildah mounts with it.
        "securityContext": {
            "privileged": False,
            "capabilities": {"add": ["SYS_ADMIN"]},
            "seccompProfile": {"type": "Unconfined"},
            # Where AppArmor is in force, its default profile forbids mounts, also in a user namespace.
            "appArmorProfile": {"type": "Unconfined"},
        },
    }
    pod = _pod(settings, request.name, request.repo_url, container, environment)
    pod["metadata"]["annotations"] |= {IMAGE_ANNOTATION: request.image, PLACE_ANNOTATION: place}
    return pod


def seeding_pod(settings: Settings, name: str, image: str, credential: str) -> dict[str, Any]:
    """The pod that sends the notebook base to the registry as `image`: a build's, without the right to mount."""
    container = {
        "command": ["python", "-m", "binderops.build.seeding"],
        "args": [image],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return _pod(settings, name, image, container, {_LOGIN: _login(settings, credential)})


def _pod(
    settings: Settings, name: str, repo: str, container: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, Any]:
    machine = settings.common.machine
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": settings.place.build_namespace,
            "labels": {"name": name, "component": COMPONENT, "release": settings.place.release},
            "annotations": {"binder-repo": repo},
        },
        "spec": {
            "hostUsers": False,
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "activeDeadlineSeconds": max(int(settings.cleaner.max_age), 1),
            "terminationGracePeriodSeconds": 5,
            "containers": [
                {
                    "name": CONTAINER,
                    "image": settings.build_image,
                    "imagePullPolicy": "IfNotPresent",
                    "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
                    "volumeMounts": _mounts(machine),
                    **container,
                }
            ],
            "volumes": _volumes(machine),
            "tolerations": [
                {"key": key, "operator": "Equal", "value": "user", "effect": "NoSchedule"} for key in _DEDICATED
            ],
            **_placement(settings),
        },
    }


def arguments(settings: Settings, request: BuildRequest, image: str) -> list[str]:
    """repo2docker's command line, as upstream gives it; `image` is where it pushes to."""
    appendix = settings.build.appendix
    return [
        f"--ref={request.ref}",
        f"--image={image}",
        "--no-clean",
        "--no-run",
        "--json-logs",
        "--user-name=jovyan",
        "--user-id=1000",
        *(["--appendix", appendix] if appendix else []),
        "--push",
        *settings.build.repo2docker_extra_args,
        # Kubernetes would put variables of the pod in place of `$(NAME)`, its credentials among them: `$$` is one `$`.
        request.repo_url.replace("$", "$$"),
    ]


def _own_environment(settings: Settings, request: BuildRequest, credential: str) -> dict[str, str]:
    base = settings.common.images.notebook.reference
    own = {
        _LOGIN: _login(settings, credential),
        "GIT_CREDENTIAL_ENV": request.git_credentials,
        "BASE_IMAGE": base,
        "BASE_REPOSITORY": f"{settings.build_registry}/{settings.base_repository}" if base else "",
        "REPO_ARTIFACT": request.artifact,
    }
    return {name: value for name, value in own.items() if value}


def _login(settings: Settings, credential: str) -> str:
    return json.dumps({"username": REGISTRY_USER, "password": credential, "registry": settings.build_registry})


def _machine_environment(machine: Machine) -> dict[str, str]:
    index, proxies = machine.package_index, machine.proxies
    found = {
        "PIP_INDEX_URL": index.get("pip", ""),
        "UV_DEFAULT_INDEX": index.get("pip", ""),
        "NPM_CONFIG_REGISTRY": index.get("npm", ""),
        "DEBIAN_MIRROR": index.get("debian", ""),
    }
    for name, key in (("HTTP_PROXY", "http"), ("HTTPS_PROXY", "https"), ("NO_PROXY", "none")):
        found[name] = found[name.lower()] = proxies.get(key, "")
    if machine.ca_certificates:
        found[ADDED_VARIABLE] = _AUTHORITIES
    return {name: value for name, value in found.items() if value}


def _resources(settings: Settings) -> dict[str, Any]:
    if settings.build.resources:
        return settings.build.resources
    memory = settings.build.memory_request
    return {"requests": {"memory": str(memory)}} if memory else {}


def _mounts(machine: Machine) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "containers", "mountPath": "/var/lib/containers"},
        {"name": "machine", "mountPath": _MACHINE, "readOnly": True},
    ]
    if machine.build_base_store:
        mounts.append({"name": "base", "mountPath": "/base/storage", "readOnly": True})
    return mounts


def _volumes(machine: Machine) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "containers", "emptyDir": {}},
        {"name": "machine", "configMap": {"name": "machine", "optional": True}},
    ]
    if machine.build_base_store:
        volumes.append({"name": "base", "hostPath": {"path": machine.build_base_store, "type": "Directory"}})
    return volumes


def _placement(settings: Settings) -> dict[str, Any]:
    secrets = [
        {"name": item} if isinstance(item, str) else {"name": item.get("name", "")}
        for item in settings.build.image_pull_secrets
    ]
    apart = {
        "weight": 100,
        "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"component": COMPONENT}},
        },
    }
    placement: dict[str, Any] = {
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [apart]}}
    }
    if settings.build.node_selector:
        placement["nodeSelector"] = settings.build.node_selector
    if secrets:
        placement["imagePullSecrets"] = secrets
    return placement
