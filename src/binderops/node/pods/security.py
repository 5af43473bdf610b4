"""securityContext of pod and container, as parts of a libpod SpecGenerator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from binderops.errors import ContainerConfigError
from binderops.kube.kinds import Object
from binderops.kube.objects import spec_of


def effective(pod: Object, container: Mapping[str, Any]) -> dict[str, Any]:
    """The container's securityContext over the pod's, for the keys that both have."""
    shared = ("runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile", "appArmorProfile")
    of_pod = spec_of(pod).get("securityContext") or {}
    own = container.get("securityContext") or {}
    merged = {key: of_pod[key] for key in shared if of_pod.get(key) is not None}
    return merged | {key: value for key, value in own.items() if value is not None}


def specification(pod: Object, container: Mapping[str, Any], *, image_user: str) -> dict[str, Any]:
    """user, groups, capabilities, seccomp, …; ContainerConfigError where runAsNonRoot is not kept."""
    context = effective(pod, container)
    of_pod = spec_of(pod).get("securityContext") or {}
    result: dict[str, Any] = {
        "user": user(context, image_user=image_user),
        "privileged": bool(context.get("privileged")),
        "read_only_filesystem": bool(context.get("readOnlyRootFilesystem")),
        "no_new_privileges": context.get("allowPrivilegeEscalation") is False,
    }
    groups = [str(group) for group in of_pod.get("supplementalGroups") or []]
    if of_pod.get("fsGroup") is not None:
        groups.append(str(of_pod["fsGroup"]))
    if groups:
        result["groups"] = groups
    capabilities = context.get("capabilities") or {}
    for key, target in (("add", "cap_add"), ("drop", "cap_drop")):
        if capabilities.get(key):
            result[target] = [_capability(name) for name in capabilities[key]]
    if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
        result["seccomp_profile_path"] = "unconfined"
    if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
        result["apparmor_profile"] = "unconfined"
    if context.get("procMount") == "Unmasked":
        result["unmask"] = ["ALL"]
    return result


def user(context: Mapping[str, Any], *, image_user: str) -> str:
    """`user:group` as the container runs; "" leaves it to the image."""
    given = context.get("runAsUser")
    name = str(given) if given is not None else image_user.partition(":")[0]
    group = context.get("runAsGroup")
    if context.get("runAsNonRoot"):
        if given is None and name and not name.isdigit():
            raise ContainerConfigError(
                f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
            )
        if int(name or "0") == 0:
            why = "container's runAsUser breaks non-root policy" if given is not None else "image will run as root"
            raise ContainerConfigError(f"container has runAsNonRoot and {why}")
    if group is not None:
        return f"{name or '0'}:{group}"
    return str(given) if given is not None else image_user


def _capability(name: str) -> str:
    upper = name.upper()
    return upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}"
