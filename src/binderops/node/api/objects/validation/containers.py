"""Containers: names, images, ports, environment, mounts, resources, probes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from binderops.kube.quantity import parse_quantity
from binderops.node.api.objects.validation.fields import (
    Causes,
    at_least,
    duplicate,
    forbidden,
    invalid,
    items,
    not_found,
    not_supported,
    one_of,
    port,
    required,
)
from binderops.node.api.objects.validation.names import dns_label, port_name, qualified_name

_STANDARD_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage"})
_ENV_NAME = re.compile(r"[ -<>-~]+")
_FIELDS = frozenset(
    {
        *("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName"),
        *("status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"),
    }
)
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def containers(spec: Mapping[str, Any], path: str) -> Causes:
    """All containers of a pod spec; names are unique among them, init containers included."""
    volumes = {str(each.get("name")) for each in spec.get("volumes") or [] if isinstance(each, Mapping)}
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    seen: set[str] = set()
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for place, container in items(spec.get(field), f"{path}.{field}"):
            name = container.get("name")
            if not name:
                yield required(f"{place}.name")
            else:
                yield from dns_label(f"{place}.name", name)
                if name in seen:
                    yield duplicate(f"{place}.name", name)
                seen.add(str(name))
            yield from _container(container, place, volumes, init=field == "initContainers")


def _container(container: Mapping[str, Any], path: str, volumes: set[str], *, init: bool) -> Causes:
    image = container.get("image")
    if not image:
        yield required(f"{path}.image")
    elif str(image) != str(image).strip():
        yield invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    yield from _ports(container.get("ports"), f"{path}.ports")
    for place, variable in items(container.get("env"), f"{path}.env"):
        yield from _variable(variable, place)
    for place, source in items(container.get("envFrom"), f"{path}.envFrom"):
        yield from _variable_source(source, place)
    yield from _mounts(container.get("volumeMounts"), f"{path}.volumeMounts", volumes)
    yield from _resources(container.get("resources") or {}, f"{path}.resources")
    sidecar = container.get("restartPolicy") == "Always"
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            if init and not sidecar:
                yield forbidden(f"{path}.{name}", "may not be set for init containers without restartPolicy=Always")
            else:
                yield from _probe(probe, f"{path}.{name}", once=name != "readinessProbe")
    lifecycle = container.get("lifecycle") or {}
    for name in ("postStart", "preStop"):
        if (handler := lifecycle.get(name)) is not None:
            yield from _handler(handler, f"{path}.lifecycle.{name}")
    context = container.get("securityContext") or {}
    if context.get("privileged") and context.get("allowPrivilegeEscalation") is False:
        yield invalid(
            f"{path}.securityContext",
            context,
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        )
    for name in ("runAsUser", "runAsGroup"):
        yield from at_least(f"{path}.securityContext.{name}", context.get(name))


def _ports(ports: Any, path: str) -> Causes:
    names: set[str] = set()
    for place, each in items(ports, path):
        if name := each.get("name"):
            yield from port_name(f"{place}.name", str(name))
            if name in names:
                yield duplicate(f"{place}.name", name)
            names.add(str(name))
        if not each.get("containerPort"):
            yield required(f"{place}.containerPort")
        else:
            yield from port(f"{place}.containerPort", each["containerPort"])
        if each.get("hostPort"):
            yield from port(f"{place}.hostPort", each["hostPort"])


def _variable(variable: Mapping[str, Any], path: str) -> Causes:
    name = variable.get("name")
    if not name:
        yield required(f"{path}.name")
    elif not _ENV_NAME.fullmatch(str(name)):
        yield invalid(
            f"{path}.name",
            name,
            "a valid environment variable name must consist only of printable ASCII characters other than '='",
        )
    source = variable.get("valueFrom")
    if source is None:
        return
    if variable.get("value"):
        yield invalid(f"{path}.valueFrom", "", "may not be specified when `value` is not empty")
    kinds = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
    given = [kind for kind in kinds if source.get(kind) is not None]
    if not given:
        listed = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        yield invalid(f"{path}.valueFrom", "", f"must specify one of: {listed}")
    if len(given) > 1:
        yield invalid(f"{path}.valueFrom", "", "may not have more than one field specified at a time")
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if kind in given:
            if not source[kind].get("name"):
                yield required(f"{path}.valueFrom.{kind}.name")
            if not source[kind].get("key"):
                yield required(f"{path}.valueFrom.{kind}.key")
    if "fieldRef" in given:
        yield from field_reference(source["fieldRef"], f"{path}.valueFrom.fieldRef", _FIELDS)
    if "resourceFieldRef" in given and not source["resourceFieldRef"].get("resource"):
        yield required(f"{path}.valueFrom.resourceFieldRef.resource")


def field_reference(reference: Mapping[str, Any], path: str, supported: frozenset[str]) -> Causes:
    """A downward API field: one of those listed, or a label or annotation by key."""
    field = str(reference.get("fieldPath") or "")
    if not field:
        yield required(f"{path}.fieldPath")
    elif not re.fullmatch(r"metadata\.(labels|annotations)\['.+'\]", field) and field not in supported:
        yield not_supported(f"{path}.fieldPath", field, supported)


def _variable_source(source: Mapping[str, Any], path: str) -> Causes:
    given = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
    if len(given) != 1:
        detail = "may not have more than one field specified at a time"
        yield invalid(path, "", detail if given else "must specify one of: `configMapRef` or `secretRef`")
    for kind in given:
        if not source[kind].get("name"):
            yield required(f"{path}.{kind}.name")


def _mounts(mounts: Any, path: str, volumes: set[str]) -> Causes:
    paths: set[str] = set()
    for place, mount in items(mounts, path):
        name, target = mount.get("name"), mount.get("mountPath")
        if not name:
            yield required(f"{place}.name")
        elif name not in volumes:
            yield not_found(f"{place}.name", name)
        if not target:
            yield required(f"{place}.mountPath")
        elif target in paths:
            yield invalid(f"{place}.mountPath", target, "must be unique")
        paths.add(str(target))
        if mount.get("subPath") and mount.get("subPathExpr"):
            yield invalid(
                f"{place}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"
            )
        for key in ("subPath", "subPathExpr"):
            if mount.get(key):
                yield from relative_path(f"{place}.{key}", str(mount[key]))


def relative_path(path: str, value: str) -> Causes:
    """A path below something: not absolute, no step up."""
    if value.startswith("/"):
        yield invalid(path, value, "must be a relative path")
    if ".." in value.split("/"):
        yield invalid(path, value, "must not contain '..'")


def _resources(resources: Mapping[str, Any], path: str) -> Causes:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, text in amounts.items():
            place = f"{path}.{field}[{name}]"
            yield from _resource_name(place, name)
            try:
                amount = parse_quantity(text)
            except ValueError as error:
                yield invalid(place, text, str(error))
                continue
            if amount < 0:
                yield invalid(place, str(text), "must be greater than or equal to 0")
            if field == "requests" and name in limits and amount > _amount(limits[name]):
                detail = f"must be less than or equal to {name} limit of {limits[name]}"
                yield invalid(f"{path}.requests", str(text), detail)


def _resource_name(path: str, name: str) -> Causes:
    if "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith("hugepages-"):
        yield invalid(path, name, "must be a standard resource type or fully qualified")
    elif "/" in name:
        yield from qualified_name(path, name)


def _amount(text: Any) -> Any:
    try:
        return parse_quantity(text)
    except ValueError:
        return parse_quantity("8E")


def _probe(probe: Mapping[str, Any], path: str, *, once: bool) -> Causes:
    yield from _handler(probe, path)
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        yield from at_least(f"{path}.{name}", probe.get(name))
    if once and probe.get("successThreshold") not in (None, 1):
        yield invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1")
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        yield invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0")


def _handler(handler: Mapping[str, Any], path: str) -> Causes:
    yield from one_of(
        path, handler, _HANDLERS, missing="must specify a handler type", many="may not specify more than 1 handler type"
    )
    if (command := handler.get("exec")) is not None and not command.get("command"):
        yield required(f"{path}.exec.command")
    for name in ("httpGet", "tcpSocket"):
        if (target := handler.get(name)) is not None:
            yield from _target_port(target.get("port"), f"{path}.{name}.port")
    if (target := handler.get("grpc")) is not None:
        yield from port(f"{path}.grpc.port", target.get("port"))


def _target_port(value: Any, path: str) -> Causes:
    if isinstance(value, str):
        yield from port_name(path, value)
    elif value is None:
        yield required(path)
    else:
        yield from port(path, value)
