"""The downward API: what a pod may learn about itself, as environment or as files."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from binderops.errors import ContainerConfigError
from binderops.kube.kinds import Object
from binderops.kube.objects import annotations_of, labels_of, name_of, namespace_of, spec_of, uid_of
from binderops.kube.quantity import parse_quantity

_ENTRY = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def field_value(path: str, pod: Object, *, pod_address: str, host_address: str) -> str:
    """The value of a `fieldRef.fieldPath`; ContainerConfigError for a path that the downward API does not offer."""
    spec = spec_of(pod)
    simple = {
        "metadata.name": name_of(pod),
        "metadata.namespace": namespace_of(pod),
        "metadata.uid": uid_of(pod),
        "spec.nodeName": str(spec.get("nodeName", "")),
        "spec.serviceAccountName": str(spec.get("serviceAccountName", "default")),
        "status.hostIP": host_address,
        "status.hostIPs": host_address,
        "status.podIP": pod_address,
        "status.podIPs": pod_address,
    }
    if path in simple:
        return simple[path]
    if path == "metadata.labels":
        return _listing(labels_of(pod))
    if path == "metadata.annotations":
        return _listing(annotations_of(pod))
    if match := _ENTRY.fullmatch(path):
        return (labels_of(pod) if match.group(1) == "labels" else annotations_of(pod)).get(match.group(2), "")
    raise ContainerConfigError(f"unsupported fieldPath: {path}")


def resource_value(
    reference: Mapping[str, Any], container: Mapping[str, Any], *, allocatable: Mapping[str, str]
) -> str:
    """The value of a `resourceFieldRef`, in units of its divisor, rounded up; a missing limit is the node's whole."""
    resource = str(reference.get("resource", ""))
    kind, _, name = resource.partition(".")
    if kind not in ("limits", "requests") or not name:
        raise ContainerConfigError(f"unsupported resource: {resource}")
    resources = container.get("resources") or {}
    given = (resources.get(kind) or {}).get(name)
    if given is None and kind == "limits":
        given = allocatable.get(name)
    divisor = parse_quantity(str(reference.get("divisor") or "1")) or Decimal(1)
    return str(math.ceil(parse_quantity(str(given or "0")) / divisor))


def _listing(entries: Mapping[str, str]) -> str:
    """`key="value"` lines, sorted, the value quoted as Go's %q does for what labels can hold."""
    quoted = {
        key: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, value in entries.items()
    }
    return "\n".join(f'{key}="{quoted[key]}"' for key in sorted(quoted))
