"""Pods and pod templates, and what may change of a pod that exists."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from binderops.node.api.objects.status import Object
from binderops.node.api.objects.typed import same
from binderops.node.api.objects.validation.containers import containers
from binderops.node.api.objects.validation.fields import Causes, at_least, forbidden, invalid, items, required
from binderops.node.api.objects.validation.names import annotation_keys, dns_label, dns_subdomain, labels
from binderops.node.api.objects.validation.volumes import volumes

_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod(obj: Object, old: Object | None) -> Causes:
    """A pod; with `old` also what an update may not change."""
    yield from pod_spec(obj.get("spec") or {}, "spec")
    if old is not None:
        yield from _update(obj.get("spec") or {}, old.get("spec") or {})


def pod_template(template: Any, path: str) -> Causes:
    """A workload's template."""
    content = template or {}
    metadata = content.get("metadata") or {}
    yield from labels(f"{path}.metadata.labels", metadata.get("labels"))
    yield from annotation_keys(f"{path}.metadata.annotations", metadata.get("annotations"))
    yield from pod_spec(content.get("spec") or {}, f"{path}.spec")


def pod_spec(spec: Mapping[str, Any], path: str) -> Causes:
    """What holds for each pod spec, wherever it stands."""
    yield from volumes(spec, path)
    yield from containers(spec, path)
    yield from _host(spec, path)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline < 2**31:
        yield invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
    yield from at_least(f"{path}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    yield from labels(f"{path}.nodeSelector", spec.get("nodeSelector"))
    for field in ("hostname", "subdomain"):
        if spec.get(field):
            yield from dns_label(f"{path}.{field}", spec[field])
    if spec.get("serviceAccountName"):
        yield from dns_subdomain(f"{path}.serviceAccountName", spec["serviceAccountName"])
    if spec.get("dnsPolicy") == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        yield required(f"{path}.dnsConfig", detail)
    for place, alias in items(spec.get("hostAliases"), f"{path}.hostAliases"):
        yield from _address(f"{place}.ip", alias.get("ip"))
    for place, toleration in items(spec.get("tolerations"), f"{path}.tolerations"):
        yield from _toleration(toleration, place)


def _host(spec: Mapping[str, Any], path: str) -> Causes:
    if spec.get("hostUsers") is False:
        for field in ("hostPID", "hostIPC"):
            if spec.get(field):
                yield forbidden(f"{path}.{field}", "when `hostUsers` is false")
    if spec.get("hostNetwork"):
        for field in ("initContainers", "containers"):
            for place, container in items(spec.get(field), f"{path}.{field}"):
                for at, port in items(container.get("ports"), f"{place}.ports"):
                    if port.get("hostPort") and port.get("hostPort") != port.get("containerPort"):
                        yield invalid(
                            f"{at}.hostPort", port["hostPort"], "must match `containerPort` when `hostNetwork` is true"
                        )


def _toleration(toleration: Mapping[str, Any], path: str) -> Causes:
    key, operator = toleration.get("key"), toleration.get("operator") or "Equal"
    if not key and operator != "Exists":
        detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield invalid(f"{path}.operator", operator, detail)
    if operator == "Exists" and toleration.get("value"):
        yield invalid(f"{path}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'")
    if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
        detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield invalid(f"{path}.effect", toleration.get("effect", ""), detail)


def _address(path: str, value: Any) -> Causes:
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        yield invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def _update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Causes:
    before, after = deepcopy(dict(old)), deepcopy(dict(new))
    for field in ("containers", "initContainers"):
        if len(before.get(field) or []) != len(after.get(field) or []):
            yield forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            return
        for place, container in items(after.get(field), f"spec.{field}"):
            if not container.get("image"):
                yield required(f"{place}.image")
        for each in [*(before.get(field) or []), *(after.get(field) or [])]:
            each.pop("image", None)
    missing = [each for each in before.get("tolerations") or [] if each not in (after.get("tolerations") or [])]
    if missing:
        yield forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
    gates = [each.get("name") for each in before.get("schedulingGates") or []]
    if any(each.get("name") not in gates for each in after.get("schedulingGates") or []):
        yield forbidden("spec.schedulingGates", "only deletion is allowed, but found new scheduling gates")
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and after.get("terminationGracePeriodSeconds") == 1:
        before["terminationGracePeriodSeconds"] = 1
    for spec in (before, after):
        for field in ("activeDeadlineSeconds", "tolerations", "schedulingGates", "ephemeralContainers"):
            spec.pop(field, None)
    if not same(before, after):
        changed = sorted(key for key in before.keys() | after.keys() if not same(before.get(key), after.get(key)))
        yield forbidden("spec", f"{_IMMUTABLE}\nchanged: {', '.join(changed)}")
