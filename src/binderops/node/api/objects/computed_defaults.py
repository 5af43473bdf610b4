"""Defaults that depend on other fields. Each function fills in one object of its type in place: a fresh copy."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

from binderops.node.api.objects.status import Object

_RBAC = "rbac.authorization.k8s.io"
_CORE = "io.k8s.api.core.v1."
_LONGEST = 2**31 - 1


def pull_policy(image: str) -> str:
    """`Always` for `:latest` and for no tag, `IfNotPresent` for another tag or a digest."""
    if "@" in image:
        return "IfNotPresent"
    tag = re.search(r":([^/:]+)$", image)
    return "Always" if tag is None or tag.group(1) == "latest" else "IfNotPresent"


def _container(container: Object) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(str(container.get("image") or ""))


def _pod_spec(spec: Object) -> None:
    """`serviceAccount` is the old name of `serviceAccountName`; both are kept alike."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def _volume(volume: Object) -> None:
    if not any(key != "name" for key in volume):
        volume["emptyDir"] = {}


def _image_volume(source: Object) -> None:
    if not source.get("pullPolicy"):
        source["pullPolicy"] = pull_policy(str(source.get("reference") or ""))


def _service_port(port: Object) -> None:
    if port.get("targetPort") in (None, "", 0) and port.get("port"):
        port["targetPort"] = port["port"]


def _subject(subject: Object) -> None:
    if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
        subject["apiGroup"] = _RBAC


COMPUTED: Mapping[str, Callable[[Object], None]] = {
    _CORE + "PodSpec": _pod_spec,
    _CORE + "Container": _container,
    _CORE + "EphemeralContainer": _container,
    _CORE + "Volume": _volume,
    _CORE + "ImageVolumeSource": _image_volume,
    _CORE + "ServicePort": _service_port,
    "io.k8s.api.rbac.v1.Subject": _subject,
}


def _pod(pod: Object) -> None:
    """Requests follow limits; a pod in the host's network publishes its ports there."""
    spec = pod.get("spec") or {}
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        resources = container.get("resources") or {}
        if limits := resources.get("limits"):
            resources["requests"] = {**limits, **(resources.get("requests") or {})}
        if spec.get("hostNetwork"):
            for port in container.get("ports") or []:
                port.setdefault("hostPort", port.get("containerPort"))


def _service(service: Object) -> None:
    spec = service.get("spec") or {}
    kind = spec.get("type")
    if spec.get("sessionAffinity") == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        config.setdefault("timeoutSeconds", 10800)
    else:
        spec.pop("sessionAffinityConfig", None)
    if kind in ("NodePort", "LoadBalancer", "ClusterIP"):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind in ("NodePort", "LoadBalancer") or spec.get("externalIPs"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _secret(secret: Object) -> None:
    """`stringData` is write-only: it is merged into `data`."""
    plain = secret.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}


def _deployment(deployment: Object) -> None:
    _rolling(deployment, "strategy", {"maxUnavailable": "25%", "maxSurge": "25%"})


def _stateful_set(stateful_set: Object) -> None:
    _rolling(stateful_set, "updateStrategy", {"partition": 0})
    for claim in (stateful_set.get("spec") or {}).get("volumeClaimTemplates") or []:
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        status = claim.setdefault("status", {})
        status.setdefault("phase", "Pending")


def _daemon_set(daemon_set: Object) -> None:
    _rolling(daemon_set, "updateStrategy", {"maxUnavailable": 1, "maxSurge": 0})


def _rolling(obj: Object, field: str, values: Mapping[str, Any]) -> None:
    strategy = (obj.get("spec") or {}).get(field) or {}
    if strategy.get("type") == "RollingUpdate":
        strategy["rollingUpdate"] = {**values, **(strategy.get("rollingUpdate") or {})}


def _job(job: Object) -> None:
    spec = job.get("spec") or {}
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    if spec.get("parallelism") is None:
        spec["parallelism"] = 1
    if spec.get("backoffLimit") is None:
        spec["backoffLimit"] = 6 if spec.get("backoffLimitPerIndex") is None else _LONGEST
    if spec.get("podReplacementPolicy") is None:
        spec["podReplacementPolicy"] = "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
    _labels_from_template(job)


def _replication_controller(controller: Object) -> None:
    _labels_from_template(controller)
    spec = controller.get("spec") or {}
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels and not spec.get("selector"):
        spec["selector"] = dict(labels)


def _labels_from_template(obj: Object) -> None:
    template = (obj.get("spec") or {}).get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    metadata = obj.setdefault("metadata", {})
    if labels and not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def _namespace(namespace: Object) -> None:
    metadata = namespace.setdefault("metadata", {})
    if metadata.get("name"):
        labels = metadata.get("labels") or {}
        metadata["labels"] = {**labels, "kubernetes.io/metadata.name": metadata["name"]}


def _network_policy(policy: Object) -> None:
    spec = policy.get("spec") or {}
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _autoscaler(autoscaler: Object) -> None:
    spec = autoscaler.get("spec") or {}
    if not spec.get("metrics") and autoscaler.get("apiVersion") == "autoscaling/v2":
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


COMPUTED_BY_KIND: Mapping[str, Callable[[Object], None]] = {
    "Pod": _pod,
    "Service": _service,
    "Secret": _secret,
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "ReplicationController": _replication_controller,
    "Namespace": _namespace,
    "NetworkPolicy": _network_policy,
    "HorizontalPodAutoscaler": _autoscaler,
}
