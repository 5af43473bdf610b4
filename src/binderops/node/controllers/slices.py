"""Endpoints from a Service and its pods: decisions only, no requests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from binderops.kube.kinds import Object
from binderops.kube.objects import (
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    spec_of,
    status_of,
    uid_of,
)
from binderops.node.controllers.workloads import is_finished, is_ready

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
ENDPOINTS_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
HEADLESS = "service.kubernetes.io/headless"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
OURS = "binderops.dev/from-service"
"""Marks Endpoints that come from a Service with a selector, and go with it."""
LARGEST_SLICE = 100
LARGEST_ENDPOINTS = 1000  # addresses; the rest is in the slices alone, as in Kubernetes

Ports = tuple[tuple[str, str, int, str | None], ...]
"""(name, protocol, port, appProtocol) of one slice."""


def facts(pod: Object) -> tuple[Any, ...]:
    """What of a pod matters to endpoints; another change of it needs no look."""
    status = status_of(pod)
    return (
        labels_of(pod),
        uid_of(pod),
        status.get("podIP"),
        is_finished(pod),
        is_ready(pod),
        is_deleting(pod),
        spec_of(pod).get("nodeName"),
    )


def slices_for(service: Object, pods: Sequence[Object]) -> list[Object]:
    """The EndpointSlices of a Service (IPv4): one a set of resolved ports and hundred pods, at least one."""
    groups: dict[Ports, list[Object]] = {}
    for pod in sorted(pods, key=name_of):
        if _has_address(pod):
            groups.setdefault(ports_for(service, pod), []).append(endpoint_for(service, pod))
    if not groups:
        groups[()] = []
    result = []
    for ports, endpoints in sorted(groups.items()):
        for start in range(0, max(len(endpoints), 1), LARGEST_SLICE):
            result.append(_slice(service, ports, endpoints[start : start + LARGEST_SLICE], start // LARGEST_SLICE))
    return result


def endpoint_for(service: Object, pod: Object) -> Object:
    """One endpoint. Conditions: serving is the pod's readiness, also while it ends; ready is not true while it ends."""
    serving, terminating = is_ready(pod), is_deleting(pod)
    published = bool(spec_of(service).get("publishNotReadyAddresses"))
    endpoint: Object = {
        "addresses": [status_of(pod)["podIP"]],
        "conditions": {
            "ready": published or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": uid_of(pod)},
    }
    if spec_of(pod).get("nodeName"):
        endpoint["nodeName"] = spec_of(pod)["nodeName"]
    if spec_of(pod).get("hostname") and spec_of(pod).get("subdomain") == name_of(service):
        endpoint["hostname"] = spec_of(pod)["hostname"]
    return endpoint


def ports_for(service: Object, pod: Object) -> Ports:
    """The Service's ports as this pod has them; a named port that it lacks is left out."""
    resolved = []
    for port in spec_of(service).get("ports") or []:
        protocol = port.get("protocol") or "TCP"
        target = port.get("targetPort", port["port"])
        number = target if isinstance(target, int) and target > 0 else _named_port(pod, str(target), protocol)
        if number is None and str(target).isdigit():
            number = int(target)
        if number:
            resolved.append((port.get("name") or "", protocol, number, port.get("appProtocol")))
    return tuple(resolved)


def endpoints_for(service: Object, pods: Sequence[Object]) -> Object:
    """The legacy Endpoints: one subset a set of ports, pods that end left out."""
    published = bool(spec_of(service).get("publishNotReadyAddresses"))
    groups: dict[Ports, tuple[list[Object], list[Object]]] = {}
    listed = [pod for pod in pods if _has_address(pod) and (published or not is_deleting(pod))]
    for pod in sorted(listed, key=lambda pod: (not is_ready(pod), name_of(pod)))[:LARGEST_ENDPOINTS]:
        endpoint = endpoint_for(service, pod)
        address = {"ip": endpoint["addresses"][0], "targetRef": endpoint["targetRef"]}
        address |= {key: endpoint[key] for key in ("nodeName", "hostname") if key in endpoint}
        ready, not_ready = groups.setdefault(ports_for(service, pod), ([], []))
        (ready if endpoint["conditions"]["ready"] else not_ready).append(address)
    subsets = []
    for ports, (ready, not_ready) in sorted(groups.items()):
        subset: Object = {"addresses": ready} if ready else {}
        if not_ready:
            subset["notReadyAddresses"] = not_ready
        if ports:
            subset["ports"] = _port_objects(ports)
        subsets.append(subset)
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": name_of(service),
            "namespace": namespace_of(service),
            "labels": {
                **labels_of(service),
                "endpoints.kubernetes.io/managed-by": "endpoint-controller",
                **_headless(service),
            },
            "annotations": {OURS: "true", **({OVER_CAPACITY: "truncated"} if len(listed) > LARGEST_ENDPOINTS else {})},
        },
        "subsets": subsets,
    }


def _slice(service: Object, ports: Ports, endpoints: list[Object], number: int) -> Object:
    # A name that follows from what the slice is for: made twice, it is refused, not doubled.
    digest = hashlib.sha256(f"{uid_of(service)} {ports} {number}".encode()).hexdigest()[:5]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name_of(service)}-{digest}",
            "namespace": namespace_of(service),
            "labels": {**labels_of(service), SERVICE_NAME: name_of(service), MANAGED_BY: MANAGER, **_headless(service)},
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": _port_objects(ports),
    }


def _port_objects(ports: Ports) -> list[Object]:
    return [
        {"name": name, "protocol": protocol, "port": port, **({"appProtocol": app} if app else {})}
        for name, protocol, port, app in ports
    ]


def _headless(service: Object) -> dict[str, str]:
    return {HEADLESS: ""} if spec_of(service).get("clusterIP") == "None" else {}


def _has_address(pod: Object) -> bool:
    return bool(status_of(pod).get("podIP")) and not is_finished(pod)


def _named_port(pod: Object, name: str, protocol: str) -> int | None:
    sidecars = [entry for entry in spec_of(pod).get("initContainers") or [] if entry.get("restartPolicy") == "Always"]
    for container in [*(spec_of(pod).get("containers") or []), *sidecars]:
        for port in container.get("ports") or []:
            if port.get("name") == name and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return None
