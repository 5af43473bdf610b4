"""Delete: at once, after a pod's grace period, or when finalizers let go; single objects and collections."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

import orjson

from binderops.kube.objects import timestamp
from binderops.kube.schemas import definition
from binderops.node.api import admission, refusals
from binderops.node.api.context import Api, Call
from binderops.node.api.http import Answer, json_answer
from binderops.node.api.objects import decoding, strict
from binderops.node.api.objects.status import bad_request
from binderops.node.api.reading import list_objects
from binderops.node.api.selection import Selection
from binderops.node.store import Record

Object = dict[str, Any]
_POLICIES = {"Orphan", "Background", "Foreground"}
_ORPHAN, _FOREGROUND = "orphan", "foregroundDeletion"
_DEFAULT_GRACE = 30  # seconds
# kube-apiserver answers with the object here, with a Status elsewhere.
_ANSWERED_WITH_OBJECT = {
    "pods",
    "persistentvolumeclaims",
    "persistentvolumes",
    "resourcequotas",
    "serviceaccounts",
    "services",
}
_JOB_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


class DeleteOptions(NamedTuple):
    """How to delete: seconds of grace (None: the object's own), what becomes of dependents, what must hold."""

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    version: str = ""
    dry_run: bool = False


async def delete_object(api: Api, call: Call) -> Answer:
    """DELETE of one object: 200 with a Status when it is gone, with the object while it goes."""
    options = await _read_options(call)
    admission.check_deletable(call, call.name)
    record = api.latest(call.resource, call.namespace, call.name)
    remaining = await delete_record(api, call, record, options)
    if remaining is not None:
        return Answer(call.view.of_object(remaining))
    if call.resource.id in _ANSWERED_WITH_OBJECT:
        return Answer(call.view.one(record))
    details = refusals.details_of(call.resource, call.name, uid=record.fields["metadata.uid"])
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return json_answer(status)


async def delete_collection(api: Api, call: Call) -> Answer:
    """DELETE of everything selected; answers with the list of what was there."""
    options = await _read_options(call)
    answer = await list_objects(api, call)
    matches = Selection(call.resource, call.namespace, call.query).matcher()
    for found in api.store.records(call.resource.stored_as, call.namespace or None):
        record = api.store.latest(found.resource, found.namespace, found.name)
        if matches(found) and record is not None:
            await delete_record(api, call, record, options)
    return answer


async def delete_record(api: Api, call: Call, record: Record, options: DeleteOptions) -> Object | None:
    """Delete an object, or start to: then return it as it now stands. None when it is gone."""
    obj = record.object()
    metadata = obj["metadata"]
    _check_preconditions(call, record, metadata, options)
    grace = _grace(obj, options)
    finalizers = _finalizers(call, metadata.get("finalizers") or [], options)
    held = bool(finalizers) or (obj["kind"] == "Namespace" and bool((obj.get("spec") or {}).get("finalizers")))
    if not grace and not held:
        if not options.dry_run:
            await api.store.delete(record)
        return None
    changed = _mark(obj, grace, finalizers, call)
    if not changed or options.dry_run:
        return obj
    return (await api.store.update(obj, previous=record)).object()


def _mark(obj: Object, grace: int, finalizers: list[str], call: Call) -> bool:
    """Put the marks of a deletion under way onto the object; False when it bears them already."""
    metadata = obj["metadata"]
    before = (metadata.get("deletionTimestamp"), metadata.get("finalizers") or [])
    running = metadata.get("deletionGracePeriodSeconds")
    if metadata.get("deletionTimestamp") is None or (running is not None and grace < running):
        metadata["deletionTimestamp"] = timestamp(call.now + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
        if "generation" in metadata:
            metadata["generation"] += 1
    if finalizers:
        metadata["finalizers"] = finalizers
    if obj["kind"] == "Namespace":
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
    return (
        before != (metadata.get("deletionTimestamp"), finalizers) or running != metadata["deletionGracePeriodSeconds"]
    )


def _grace(obj: Object, options: DeleteOptions) -> int:
    """Seconds that a pod gets to end; nothing else has a grace period, nor has a pod that runs nowhere (any more)."""
    if obj["kind"] != "Pod":
        return 0
    spec, phase = obj.get("spec") or {}, (obj.get("status") or {}).get("phase")
    if options.grace is not None:
        grace = 1 if options.grace < 0 else options.grace
    else:
        given = spec.get("terminationGracePeriodSeconds")
        grace = int(_DEFAULT_GRACE if given is None else given)
    return 0 if not spec.get("nodeName") or phase in {"Failed", "Succeeded"} else grace


def _finalizers(call: Call, present: list[str], options: DeleteOptions) -> list[str]:
    kept = [finalizer for finalizer in present if finalizer not in {_ORPHAN, _FOREGROUND}]
    match options.propagation:
        case "Orphan":
            return [*kept, _ORPHAN]
        case "Foreground":
            return [*kept, _FOREGROUND]
        case "Background":
            return kept
    if call.resource.id == "jobs.batch":
        # batch/v1 keeps what Jobs did before there was garbage collection.
        call.warn([_JOB_WARNING])
        return [*kept, _ORPHAN]
    return present


def _check_preconditions(call: Call, record: Record, metadata: Object, options: DeleteOptions) -> None:
    if options.uid and options.uid != metadata["uid"]:
        why = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {metadata['uid']}"
        raise refusals.conflict(call.resource, record.name, why)
    if options.version and options.version != metadata["resourceVersion"]:
        versions = f"{options.version}, ResourceVersion in object meta: {metadata['resourceVersion']}"
        why = f"Precondition failed: ResourceVersion in precondition: {versions}"
        raise refusals.conflict(call.resource, record.name, why)


async def _read_options(call: Call) -> DeleteOptions:
    """DeleteOptions from the body, or from the query when there is no body."""
    body = await call.request.body()
    given: Object = {}
    if body.strip():
        given = decoding.decode_body(body, call.request.header("content-type") or decoding.JSON).object
        schema = definition("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")
        strict.check_fields(given, schema, mode="Ignore")
    query = call.query
    grace = given.get("gracePeriodSeconds")
    if grace is None and query.get("gracePeriodSeconds"):
        grace = _whole_number(query.get("gracePeriodSeconds"))
    policy = given.get("propagationPolicy") or query.get("propagationPolicy")
    orphans = given.get("orphanDependents")
    if orphans is None and "orphanDependents" in query.raw():
        orphans = query.flag("orphanDependents")
    if orphans is not None and not policy:
        policy = "Orphan" if orphans else "Background"
    if policy and policy not in _POLICIES:
        raise bad_request(f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "{policy}"')
    conditions = given.get("preconditions") or {}
    dry_run = bool(given.get("dryRun")) or query.dry_run
    return DeleteOptions(grace, policy, conditions.get("uid") or "", conditions.get("resourceVersion") or "", dry_run)


def _whole_number(text: str) -> int:
    try:
        return int(orjson.loads(text))
    except (ValueError, TypeError):
        raise bad_request(f"invalid value {text!r} for parameter gracePeriodSeconds") from None
