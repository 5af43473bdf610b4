"""The rows of everything that is no workload: services, storage, configuration, access, nodes, events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from binderops.node.api.objects.printing import (
    NONE,
    UNKNOWN,
    Columns,
    age,
    labels_text,
    name,
    selector_text,
    since,
)
from binderops.node.api.objects.status import Object

_SHOWN_ENDPOINTS = 3


def _service(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    ports = ",".join(_service_port(port) for port in spec.get("ports") or []) or NONE
    address = spec.get("clusterIP") or NONE
    row = [name(obj), spec.get("type", ""), address, _external(obj), ports, age(obj, now)]
    return [*row, labels_text(spec.get("selector"))]


def _service_port(port: Object) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}"


def _external(obj: Object) -> str:
    spec = obj.get("spec") or {}
    given = list(spec.get("externalIPs") or [])
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName") or "")
    if spec.get("type") == "LoadBalancer":
        addresses = [*_ingress_addresses(obj), *given]
        return ",".join(addresses) or "<pending>"
    return ",".join(given) or NONE


def _ingress_addresses(obj: Object) -> list[str]:
    points = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return [str(each.get("ip") or each.get("hostname") or "") for each in points]


def _ingress(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    hosts = [str(rule.get("host")) for rule in spec.get("rules") or [] if rule.get("host")]
    shown = ",".join(hosts[:3]) + (f" + {len(hosts) - 3} more..." if len(hosts) > 3 else "") if hosts else "*"
    ports = "80, 443" if spec.get("tls") else "80"
    return [
        name(obj),
        spec.get("ingressClassName") or NONE,
        shown,
        ",".join(_ingress_addresses(obj)),
        ports,
        age(obj, now),
    ]


def _ingress_class(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    given = spec.get("parameters") or {}
    kind = ".".join(each for each in (given.get("kind"), given.get("apiGroup")) if each)
    parameters = f"{kind}/{given.get('name')}" if given else NONE
    return [name(obj), spec.get("controller", ""), parameters, age(obj, now)]


def _endpoints(obj: Object, now: datetime) -> list[Any]:
    found = []
    for subset in obj.get("subsets") or []:
        for port in subset.get("ports") or [{}]:
            for address in subset.get("addresses") or []:
                found.append(f"{address.get('ip')}:{port['port']}" if port.get("port") else str(address.get("ip")))
    return [name(obj), _some(found), age(obj, now)]


def _endpoint_slice(obj: Object, now: datetime) -> list[Any]:
    ports = [str(each.get("port") or "*") for each in obj.get("ports") or []]
    addresses = [address for each in obj.get("endpoints") or [] for address in each.get("addresses") or []]
    return [name(obj), obj.get("addressType", ""), _some(ports, "<unset>"), _some(addresses, "<unset>"), age(obj, now)]


def _some(items: list[str], none: str = NONE) -> str:
    more = len(items) - _SHOWN_ENDPOINTS
    return ",".join(items[:_SHOWN_ENDPOINTS]) + (f" + {more} more..." if more > 0 else "") if items else none


def _node(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    info = status.get("nodeInfo") or {}
    ready = next((each.get("status") for each in status.get("conditions") or [] if each.get("type") == "Ready"), None)
    words = ["Ready" if ready == "True" else "NotReady" if ready else "Unknown"]
    if spec.get("unschedulable"):
        words.append("SchedulingDisabled")
    prefix = "node-role.kubernetes.io/"
    labels = (obj.get("metadata") or {}).get("labels") or {}
    roles = ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix)))
    addresses = {each.get("type"): each.get("address") for each in status.get("addresses") or []}
    return [
        name(obj),
        ",".join(words),
        roles or NONE,
        age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP") or NONE,
        addresses.get("ExternalIP") or NONE,
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _event(obj: Object, now: datetime) -> list[Any]:
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    series = obj.get("series") or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp") or first
    count = series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    return [
        since(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        ", ".join(each for each in (component, source.get("host")) if each),
        str(obj.get("message") or obj.get("note") or "").strip(),
        since(first, now),
        count,
        name(obj),
    ]


def _namespace(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), (obj.get("status") or {}).get("phase", ""), age(obj, now)]


def _secret(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), obj.get("type", ""), len(obj.get("data") or {}), age(obj, now)]


def _config_map(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), age(obj, now)]


def _service_account(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), len(obj.get("secrets") or []), age(obj, now)]


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(modes: Any) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in (modes or []))


def _volume(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    claim = spec.get("claimRef")
    return [
        name(obj),
        (spec.get("capacity") or {}).get("storage", ""),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        _phase(obj, status),
        f"{claim.get('namespace')}/{claim.get('name')}" if claim else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or "<unset>",
        status.get("reason", ""),
        age(obj, now),
        spec.get("volumeMode") or "<unset>",
    ]


def _claim(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    bound = bool(spec.get("volumeName"))
    return [
        name(obj),
        _phase(obj, status),
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "") if bound else "",
        _modes(status.get("accessModes")) if bound else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or "<unset>",
        age(obj, now),
        spec.get("volumeMode") or "<unset>",
    ]


def _phase(obj: Object, status: Object) -> str:
    return "Terminating" if (obj.get("metadata") or {}).get("deletionTimestamp") else str(status.get("phase", ""))


def _storage_class(obj: Object, now: datetime) -> list[Any]:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    default = annotations.get("storageclass.kubernetes.io/is-default-class") == "true"
    return [
        name(obj) + (" (default)" if default else ""),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", ""),
        obj.get("volumeBindingMode", ""),
        str(bool(obj.get("allowVolumeExpansion"))).lower(),
        age(obj, now),
    ]


def _priority_class(obj: Object, now: datetime) -> list[Any]:
    default = str(bool(obj.get("globalDefault"))).lower()
    return [name(obj), obj.get("value") or 0, default, age(obj, now), obj.get("preemptionPolicy", "")]


def _role(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), (obj.get("metadata") or {}).get("creationTimestamp", UNKNOWN)]


def _role_binding(obj: Object, now: datetime) -> list[Any]:
    role = obj.get("roleRef") or {}
    subjects = obj.get("subjects") or []

    def named(kind: str) -> str:
        return ", ".join(_subject(each) for each in subjects if each.get("kind") == kind)

    row = [name(obj), f"{role.get('kind', '')}/{role.get('name', '')}", age(obj, now)]
    return [*row, named("User"), named("Group"), named("ServiceAccount")]


def _subject(subject: Object) -> str:
    if subject.get("kind") == "ServiceAccount":
        return f"{subject.get('namespace', '')}/{subject.get('name', '')}"
    return str(subject.get("name", ""))


def _network_policy(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), selector_text((obj.get("spec") or {}).get("podSelector")), age(obj, now)]


def _lease(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), (obj.get("spec") or {}).get("holderIdentity", ""), age(obj, now)]


def _disruption_budget(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    bounds = [str(spec[each]) if spec.get(each) is not None else "N/A" for each in ("minAvailable", "maxUnavailable")]
    return [name(obj), *bounds, status.get("disruptionsAllowed") or 0, age(obj, now)]


_BINDING = ("Name", "Role", "Age", "Users*", "Groups*", "ServiceAccounts*")

PRINTERS: Mapping[str, tuple[Columns, Callable[[Object, datetime], list[Any]]]] = {
    "Service": (("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector*"), _service),
    "Ingress": (("Name", "Class", "Hosts", "Address", "Ports", "Age"), _ingress),
    "IngressClass": (("Name", "Controller", "Parameters", "Age"), _ingress_class),
    "Endpoints": (("Name", "Endpoints", "Age"), _endpoints),
    "EndpointSlice": (("Name", "AddressType", "Ports", "Endpoints", "Age"), _endpoint_slice),
    "Node": (
        (
            *("Name", "Status", "Roles", "Age", "Version", "Internal-IP*", "External-IP*"),
            *("OS-Image*", "Kernel-Version*", "Container-Runtime*"),
        ),
        _node,
    ),
    "Event": (
        (
            *("Last Seen", "Type", "Reason", "Object", "Subobject*", "Source*", "Message"),
            *("First Seen*", "Count#*", "Name*"),
        ),
        _event,
    ),
    "Namespace": (("Name", "Status", "Age"), _namespace),
    "Secret": (("Name", "Type", "Data#", "Age"), _secret),
    "ConfigMap": (("Name", "Data#", "Age"), _config_map),
    "ServiceAccount": (("Name", "Secrets#", "Age"), _service_account),
    "PersistentVolume": (
        (
            *("Name", "Capacity", "Access Modes", "Reclaim Policy", "Status", "Claim", "StorageClass"),
            *("VolumeAttributesClass", "Reason", "Age", "VolumeMode*"),
        ),
        _volume,
    ),
    "PersistentVolumeClaim": (
        (
            *("Name", "Status", "Volume", "Capacity", "Access Modes", "StorageClass"),
            *("VolumeAttributesClass", "Age", "VolumeMode*"),
        ),
        _claim,
    ),
    "StorageClass": (
        ("Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"),
        _storage_class,
    ),
    "PriorityClass": (("Name", "Value#", "Global-Default", "Age", "PreemptionPolicy"), _priority_class),
    "Role": (("Name", "Created At"), _role),
    "ClusterRole": (("Name", "Created At"), _role),
    "LimitRange": (("Name", "Created At"), _role),
    "RoleBinding": (_BINDING, _role_binding),
    "ClusterRoleBinding": (_BINDING, _role_binding),
    "NetworkPolicy": (("Name", "Pod-Selector", "Age"), _network_policy),
    "Lease": (("Name", "Holder", "Age"), _lease),
    "PodDisruptionBudget": (
        ("Name", "Min Available", "Max Unavailable", "Allowed Disruptions#", "Age"),
        _disruption_budget,
    ),
}
