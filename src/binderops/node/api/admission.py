"""Built-in admission: what may be created where, and what the server adds (ServiceAccount, Priority, …).

The order is kube-apiserver's: mutation here, then validation, then allocation of addresses.
"""

from __future__ import annotations

from typing import Any

from binderops.node.api import addresses, escalation, refusals
from binderops.node.api.context import Api, Call
from binderops.node.api.objects.admission import admit_pod, service_account_name
from binderops.node.api.objects.status import bad_request
from binderops.node.api.resources import BY_PATH

Object = dict[str, Any]
_NAMESPACES = BY_PATH[("", "v1", "namespaces")]
PERMANENT_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})
SYSTEM_PRIORITIES = {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}


def admit_create(api: Api, call: Call, obj: Object) -> Object:
    """A new object, admitted and changed; 403, 404 or 422 when it may not be."""
    if call.resource.namespaced:
        check_namespace(api, call, obj)
    match call.resource.id:
        case "pods":
            obj = _admit_pod(api, call, obj)
        case "namespaces":
            metadata = obj["metadata"]
            metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
        case "services":
            obj = addresses.allocate(api.store, api.config, obj, live=None)
        case "persistentvolumeclaims":
            obj = _default_storage_class(api, obj)
        case "ingresses.networking.k8s.io":
            obj = _default_ingress_class(api, obj)
    escalation.check(api, call, obj, live=None)
    return obj


def admit_update(api: Api, call: Call, obj: Object, *, live: Object) -> Object:
    """A changed object, admitted and changed."""
    if call.resource.id == "namespaces":
        obj = _keep_finalizers(obj, live=live, finalize=call.subresource == "finalize")
        metadata = obj["metadata"]
        metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
    if call.resource.id == "services" and not call.subresource:
        obj = addresses.allocate(api.store, api.config, obj, live=live)
    if call.resource.id == "pods" and call.subresource == "status":
        obj = {**obj, "spec": live["spec"]}
    if not call.subresource:
        escalation.check(api, call, obj, live=live)
    return obj


def check_namespace(api: Api, call: Call, obj: Object) -> None:
    """The namespace must exist, and not be on its way out."""
    record = api.store.latest("namespaces", "", call.namespace)
    if record is None:
        raise refusals.not_found(_NAMESPACES, call.namespace)
    namespace = record.object()
    if namespace["metadata"].get("deletionTimestamp"):
        why = f"unable to create new content in namespace {call.namespace} because it is being terminated"
        message = f"namespace {call.namespace} is being terminated"
        cause = {"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}
        raise refusals.forbidden(call.resource, obj["metadata"].get("name", ""), why, causes=[cause])


def check_deletable(call: Call, name: str) -> None:
    """The namespaces that every cluster has stay."""
    if call.resource.id == "namespaces" and name in PERMANENT_NAMESPACES:
        raise refusals.forbidden(call.resource, name, "this namespace may not be deleted")


def _admit_pod(api: Api, call: Call, pod: Object) -> Object:
    account_name = service_account_name(pod)
    record = api.store.latest("serviceaccounts", call.namespace, account_name)
    if record is None:
        full_name = f"{call.namespace}/{account_name}"
        why = f'error looking up service account {full_name}: serviceaccount "{account_name}" not found'
        raise refusals.forbidden(call.resource, pod["metadata"]["name"], why)
    _set_priority(api, call, pod)
    return admit_pod(pod, service_account=record.object())


def _set_priority(api: Api, call: Call, pod: Object) -> None:
    spec = pod["spec"]
    classes = [r.object() for r in api.store.latest_records("priorityclasses.scheduling.k8s.io")]
    name = spec.get("priorityClassName")
    if not name:
        chosen = max((c for c in classes if c.get("globalDefault")), key=lambda c: int(c["value"]), default=None)
        if chosen is None:
            return
        spec["priorityClassName"] = chosen["metadata"]["name"]
    elif name in SYSTEM_PRIORITIES:
        chosen = {"value": SYSTEM_PRIORITIES[name]}
    else:
        chosen = next((c for c in classes if c["metadata"]["name"] == name), None)
        if chosen is None:
            raise refusals.forbidden(
                call.resource, pod["metadata"]["name"], f"no PriorityClass with name {name} was found"
            )
    spec["priority"] = int(chosen["value"])
    spec["preemptionPolicy"] = chosen.get("preemptionPolicy") or "PreemptLowerPriority"


def _default_storage_class(api: Api, claim: Object) -> Object:
    if (claim.get("spec") or {}).get("storageClassName") is not None:
        return claim
    name = _marked_default(api, "storageclasses.storage.k8s.io", "storageclass.kubernetes.io/is-default-class")
    return {**claim, "spec": {**(claim.get("spec") or {}), "storageClassName": name}} if name else claim


def _default_ingress_class(api: Api, ingress: Object) -> Object:
    annotations = ingress["metadata"].get("annotations") or {}
    if (ingress.get("spec") or {}).get("ingressClassName") or "kubernetes.io/ingress.class" in annotations:
        return ingress
    name = _marked_default(api, "ingressclasses.networking.k8s.io", "ingressclass.kubernetes.io/is-default-class")
    return {**ingress, "spec": {**(ingress.get("spec") or {}), "ingressClassName": name}} if name else ingress


def _marked_default(api: Api, resource: str, annotation: str) -> str:
    """The newest object that the annotation marks as the default."""
    objects = (record.object() for record in api.store.latest_records(resource))
    marked = [o for o in objects if (o["metadata"].get("annotations") or {}).get(annotation) == "true"]
    newest = max(marked, key=lambda o: (o["metadata"]["creationTimestamp"], o["metadata"]["name"]), default=None)
    return str(newest["metadata"]["name"]) if newest else ""


def _keep_finalizers(obj: Object, *, live: Object, finalize: bool) -> Object:
    """A namespace's `spec.finalizers` are changed by /finalize only, and nothing else is changed there."""
    if not finalize:
        return {**obj, "spec": live.get("spec") or {}}
    finalizers = (obj.get("spec") or {}).get("finalizers") or []
    if not isinstance(finalizers, list):
        raise bad_request("spec.finalizers is not a list")
    return {**live, "metadata": obj["metadata"], "spec": {**(live.get("spec") or {}), "finalizers": finalizers}}
