"""Which objects a list or watch wants: by labels, and by the fields that kube-apiserver selects by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from binderops.kube.selectors import LabelSelector, Requirement, field_value, parse_fields, parse_labels
from binderops.node.api.objects.status import bad_request
from binderops.node.api.requests import Query
from binderops.node.api.resources import Resource
from binderops.node.store import Record

Object = dict[str, Any]

_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT_FIELDS = (
    *(f"involvedObject.{field}" for field in _INVOLVED),
    *("reason", "reportingComponent", "source", "type"),
)
# Beside metadata.name and metadata.namespace, which every resource has.
SELECTABLE: Mapping[str, tuple[str, ...]] = {
    "events": _EVENT_FIELDS,
    "namespaces": ("status.phase",),
    "nodes": ("spec.unschedulable",),
    "pods": (
        *("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork"),
        *("status.phase", "status.podIP", "status.nominatedNodeName"),
    ),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
    "jobs.batch": ("status.successful",),
    "replicasets.apps": ("status.replicas",),
}
# Zero values that Go writes where JSON has nothing.
_ZERO = {"spec.unschedulable": "false", "spec.hostNetwork": "false", "status.successful": "0", "status.replicas": "0"}
_NEW_EVENT_NAMES = {f"regarding.{field}": f"involvedObject.{field}" for field in _INVOLVED} | {
    "reportingController": "reportingComponent"
}


def fields_of(resource: str, obj: Object) -> dict[str, str]:
    """The values of an object's selectable fields, and its uid (for tokens that are bound to it)."""
    metadata = obj["metadata"]
    fields = {"metadata.name": metadata["name"], "metadata.uid": metadata.get("uid", "")}
    if namespace := metadata.get("namespace"):
        fields["metadata.namespace"] = namespace
    for path in SELECTABLE.get(resource, ()):
        fields[path] = _value(obj, path)
    return fields


def _value(obj: Object, path: str) -> str:
    if path == "source":
        return field_value(obj, "source.component") or field_value(obj, "reportingComponent")
    if path == "status.successful":
        return field_value(obj, "status.succeeded") or "0"
    return field_value(obj, path) or _ZERO.get(path, "")


class Selection:
    """The namespace, labels and fields that a request selects."""

    def __init__(self, resource: Resource, namespace: str, query: Query) -> None:
        labels, fields = query.get("labelSelector"), query.get("fieldSelector")
        self.namespace = namespace
        try:
            self._labels: LabelSelector = parse_labels(labels)
            self._fields = tuple(_checked(resource, requirement) for requirement in parse_fields(fields))
        except ValueError as error:
            group_version = f"{resource.group}/{resource.version}"
            what = f'"{group_version}, Resource={resource.plural}"'
            selectors = f'label selector "{labels}", field selector "{fields}"'
            raise bad_request(f"Unable to find {what} that match {selectors}: {error}") from None

    @property
    def name(self) -> str:
        """The one name that is selected, if the fields name one: authorization takes it for the object's."""
        wanted = (r for r in self._fields if r.key == "metadata.name" and r.operator == "In")
        return next((requirement.values[0] for requirement in wanted), "")

    @property
    def is_everything(self) -> bool:
        """Whether neither labels nor fields are selected."""
        return not self._fields and not self._labels.requirements

    def matcher(self) -> Callable[[Record], bool]:
        """A predicate on records; a namespace is part of it."""
        namespace, labels, fields, name = self.namespace, self._labels, self._fields, self.name

        def matches(record: Record) -> bool:
            if namespace and record.namespace != namespace:
                return False
            if labels.requirements and not labels.matches(record.labels):
                return False
            if not fields or (name and record.name != name):
                return not fields
            found = record.fields
            return all(r.matches({r.key: found.get(r.key, "")}) for r in fields)

        return matches


def _checked(resource: Resource, requirement: Requirement) -> Requirement:
    key = requirement.key
    if resource.group == "events.k8s.io":
        key = _NEW_EVENT_NAMES.get(key, key)
    known = SELECTABLE.get(resource.stored_as, ())
    if key not in {"metadata.name", "metadata.namespace", *known}:
        raise ValueError(f"field label not supported: {requirement.key}")
    return requirement._replace(key=key)
