"""A container's environment: env, envFrom, and the variables of Services.

Order and precedence are the kubelet's (pkg/kubelet/kubelet_pods.go, makeEnvironmentVariables): envFrom, then env,
which may refer to what stands before it; Service variables come last and replace nothing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from binderops.errors import ContainerConfigError
from binderops.kube.kinds import CONFIG_MAP, SECRET, Kind, Object
from binderops.kube.objects import name_of, namespace_of, spec_of
from binderops.node.pods.downward import field_value, resource_value
from binderops.node.pods.expansion import expand

_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
Fetch = Callable[[Kind, str, str], Awaitable[Object | None]]
"""(kind, namespace, name) -> the object, or None where there is none."""


class Facts(NamedTuple):
    """What the environment may refer to beside the pod itself."""

    pod_address: str
    host_address: str
    allocatable: Mapping[str, str]
    service_variables: Mapping[str, str]


async def container_environment(
    pod: Object, container: Mapping[str, Any], facts: Facts, fetch: Fetch
) -> dict[str, str]:
    """Every variable of `container`; ContainerConfigError where a required object or key is missing."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        found.update(await _from_object(namespace_of(pod), source, fetch))
    for variable in container.get("env") or []:
        name = str(variable["name"])
        if variable.get("valueFrom"):
            value = await _value_from(pod, container, variable["valueFrom"], facts, fetch)
            if value is not None:
                found[name] = value
        else:
            found[name] = expand(str(variable.get("value") or ""), {**facts.service_variables, **found})
    return {**facts.service_variables, **found}


def service_variables(
    services: Iterable[Object], *, namespace: str, links: bool, kubernetes_address: str
) -> dict[str, str]:
    """`NAME_SERVICE_HOST`, `NAME_SERVICE_PORT` and Docker's link variables of the namespace's Services.

    Those of `default/kubernetes` are there in every namespace; its address stands in until the Service is known.
    """
    variables = {
        "KUBERNETES_SERVICE_HOST": kubernetes_address,
        "KUBERNETES_SERVICE_PORT": "443",
        "KUBERNETES_SERVICE_PORT_HTTPS": "443",
    }
    for service in services:
        own = links and namespace_of(service) == namespace
        if own or (namespace_of(service), name_of(service)) == ("default", "kubernetes"):
            variables.update(_variables_of(service))
    return variables


def _variables_of(service: Object) -> dict[str, str]:
    spec = spec_of(service)
    address, ports = spec.get("clusterIP"), spec.get("ports") or []
    if not address or address == "None" or not ports:
        return {}
    prefix = name_of(service).upper().replace("-", "_")
    variables = {f"{prefix}_SERVICE_HOST": str(address), f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for index, port in enumerate(ports):
        protocol, number = str(port.get("protocol", "TCP")), str(port["port"])
        if port.get("name"):
            variables[f"{prefix}_SERVICE_PORT_{str(port['name']).upper().replace('-', '_')}"] = number
        url = f"{protocol.lower()}://{address}:{number}"
        if index == 0:
            variables[f"{prefix}_PORT"] = url
        link = f"{prefix}_PORT_{number}_{protocol.upper()}"
        variables.update(
            {link: url, f"{link}_PROTO": protocol.lower(), f"{link}_PORT": number, f"{link}_ADDR": str(address)}
        )
    return variables


async def _from_object(namespace: str, source: Mapping[str, Any], fetch: Fetch) -> dict[str, str]:
    kind, reference = (
        (CONFIG_MAP, source["configMapRef"]) if source.get("configMapRef") else (SECRET, source["secretRef"])
    )
    found = await fetch(kind, namespace, str(reference["name"]))
    if found is None:
        if reference.get("optional"):
            return {}
        raise ContainerConfigError(f'{kind.kind.lower()} "{reference["name"]}" not found')
    prefix = str(source.get("prefix") or "")
    texts = {f"{prefix}{key}": text for key, text in texts_of(found).items()}
    return {name: text for name, text in texts.items() if _NAME.fullmatch(name)}


async def _value_from(
    pod: Object, container: Mapping[str, Any], source: Mapping[str, Any], facts: Facts, fetch: Fetch
) -> str | None:
    if reference := source.get("fieldRef"):
        path = str(reference["fieldPath"])
        return field_value(path, pod, pod_address=facts.pod_address, host_address=facts.host_address)
    if reference := source.get("resourceFieldRef"):
        other = next(
            (c for c in spec_of(pod).get("containers", []) if c["name"] == reference.get("containerName")),
            container,
        )
        return resource_value(reference, other, allocatable=facts.allocatable)
    for key, kind in (("configMapKeyRef", CONFIG_MAP), ("secretKeyRef", SECRET)):
        if reference := source.get(key):
            return await _key_of_object(kind, namespace_of(pod), reference, fetch)
    raise ContainerConfigError(f"unsupported valueFrom: {', '.join(source)}")


async def _key_of_object(kind: Kind, namespace: str, reference: Mapping[str, Any], fetch: Fetch) -> str | None:
    name, key = str(reference["name"]), str(reference["key"])
    found = await fetch(kind, namespace, name)
    if found is None:
        if reference.get("optional"):
            return None
        raise ContainerConfigError(f'{kind.kind.lower()} "{name}" not found')
    texts = texts_of(found)
    if key not in texts:
        if reference.get("optional"):
            return None
        raise ContainerConfigError(f"couldn't find key {key} in {kind.kind} {namespace}/{name}")
    return texts[key]


def texts_of(obj: Object) -> dict[str, str]:
    """The entries of a ConfigMap or Secret as text; bytes that are no UTF-8 are replaced."""
    return {key: data.decode(errors="replace") for key, data in entries_of(obj).items()}


def entries_of(obj: Object) -> dict[str, bytes]:
    """The entries of a ConfigMap (`data`, `binaryData`) or a Secret (`data`) as bytes."""
    if obj.get("kind") == "Secret":
        return {key: base64.b64decode(value or "") for key, value in (obj.get("data") or {}).items()}
    entries = {key: str(value).encode() for key, value in (obj.get("data") or {}).items()}
    return entries | {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
