"""Admission of pods: what kube-apiserver's built-in plugins put into a pod before it is stored.

ServiceAccount (token volume, pull secrets), DefaultTolerationSeconds, Priority. Pure: the ServiceAccount is given.
"""

from __future__ import annotations

import secrets
from copy import deepcopy
from typing import Any

from binderops.node.api.objects.status import Object

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 3607
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def admit_pod(pod: Object, *, service_account: Object | None) -> Object:
    """The pod with its service account's token mounted into each container that mounts nothing there itself.

    `service_account` is the object that the pod names (`default` if it names none); None leaves the pod without token,
    as for a mirror of a static pod.
    """
    admitted = deepcopy(pod)
    spec = admitted.setdefault("spec", {})
    if service_account is not None:
        name = str((service_account.get("metadata") or {}).get("name") or "default")
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        if not spec.get("imagePullSecrets") and service_account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = deepcopy(service_account["imagePullSecrets"])
        if _wants_token(spec, service_account):
            _mount_token(spec)
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    _tolerate(spec)
    return admitted


def service_account_name(pod: Object) -> str:
    """The service account that a pod runs as."""
    spec = pod.get("spec") or {}
    return str(spec.get("serviceAccountName") or spec.get("serviceAccount") or "default")


def _wants_token(spec: Object, service_account: Object) -> bool:
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = service_account.get("automountServiceAccountToken")
    return wanted is not False


def _mount_token(spec: Object) -> None:
    volumes = spec.get("volumes") or []
    existing = next(
        (each["name"] for each in volumes if str(each.get("name", "")).startswith("kube-api-access-")), None
    )
    name = existing or "kube-api-access-" + "".join(secrets.choice(_SUFFIX) for _ in range(5))
    mounted = False
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        mounts = container.get("volumeMounts") or []
        if any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
            continue
        container["volumeMounts"] = [*mounts, {"mountPath": MOUNT_PATH, "name": name, "readOnly": True}]
        mounted = True
    if mounted and existing is None:
        spec["volumes"] = [*volumes, {"name": name, "projected": _token_sources()}]


def _token_sources() -> dict[str, Any]:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
            {"downwardAPI": {"items": [namespace]}},
        ],
    }


def _tolerate(spec: Object) -> None:
    """Five minutes on a node that is not ready or not reachable, unless the pod says otherwise."""
    tolerations = list(spec.get("tolerations") or [])
    for key in _TOLERATED:
        if not any(
            each.get("key") in (key, None, "") and each.get("effect") in ("NoExecute", None, "") for each in tolerations
        ):
            tolerations.append({"effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300})
    spec["tolerations"] = tolerations
