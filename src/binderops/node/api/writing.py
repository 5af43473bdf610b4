"""Create, update and patch: decoded, prepared, admitted, validated, stored; then answered.

Between reading the live object and handing the new one to the store nothing is awaited, so no other write intervenes.
"""

from __future__ import annotations

from typing import Any

from binderops.errors import NotFoundError
from binderops.node.api import admission, refusals
from binderops.node.api.context import Api, Call
from binderops.node.api.http import Answer
from binderops.node.api.objects import validation, writes
from binderops.node.api.objects.decoding import APPLY
from binderops.node.api.objects.preparing import generated_name
from binderops.node.api.objects.status import Cause, bad_request, unprocessable
from binderops.node.store import AlreadyStoredError, Record

Object = dict[str, Any]


async def create_object(api: Api, call: Call) -> Answer:
    """POST to a collection."""
    obj = await call.read_object()
    call.check_names(obj)
    metadata = obj["metadata"]
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generated_name(str(metadata["generateName"]))
    if not metadata.get("name"):
        raise _name_required(call)
    _must_be_new(api, call, metadata["name"])
    prepared = writes.prepare_create(obj, schema=call.schema, manager=call.manager, now=call.now)
    return await store_new(api, call, prepared)


async def replace_object(api: Api, call: Call) -> Answer:
    """PUT of an object, or of its status (or a namespace's finalizers)."""
    obj = await call.read_object()
    call.check_names(obj)
    record = api.latest(call.resource, call.namespace, call.name)
    live = record.object()
    check_preconditions(call, live, obj["metadata"])
    subresource = "" if call.subresource == "finalize" else call.subresource
    prepared = writes.prepare_replace(
        live, obj, schema=call.schema, manager=call.manager, now=call.now, subresource=subresource
    )
    return await store_changed(api, call, prepared, record=record, live=live)


async def patch_object(api: Api, call: Call) -> Answer:
    """PATCH in any of the four forms; an apply may create."""
    body = await call.request.body()
    media = call.request.header("content-type").partition(";")[0].strip().lower()
    force = call.query.flag("force")
    if force and media != APPLY:
        raise bad_request(
            'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch'
        )
    if media == APPLY and not call.query.get("fieldManager"):
        raise bad_request(
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
        )
    record = api.store.latest(call.resource.stored_as, call.namespace, call.name)
    if record is None and (media != APPLY or call.subresource):
        raise refusals.not_found(call.resource, call.name)
    live = record.object() if record else None
    prepared, warnings = writes.prepare_patch(
        live,
        body,
        media,
        schema=call.schema,
        manager=call.manager,
        now=call.now,
        subresource=call.subresource,
        field_validation=call.field_validation,
        force=force,
    )
    call.warn(warnings)
    call.check_names(prepared)
    if record is None or live is None:
        return await store_new(api, call, prepared)
    check_preconditions(call, live, prepared["metadata"])
    return await store_changed(api, call, prepared, record=record, live=live)


async def store_new(api: Api, call: Call, prepared: Object) -> Answer:
    """Admit, validate and store a prepared new object, and answer with it."""
    obj = admission.admit_create(api, call, prepared)
    validation.raise_invalid(validation.validate(obj, schema=call.schema), obj)
    if call.query.dry_run:
        return Answer(call.view.of_object(obj), code=201)
    try:
        record = await api.store.create(call.resource.stored_as, obj)
    except AlreadyStoredError:
        raise refusals.already_exists(call.resource, obj["metadata"]["name"]) from None
    return Answer(call.view.one(record), code=201)


async def store_changed(api: Api, call: Call, prepared: Object, *, record: Record, live: Object) -> Answer:
    """Admit, validate and store a prepared change; the last finalizer's removal deletes."""
    obj = admission.admit_update(api, call, prepared, live=live)
    causes = validation.validate(obj, live, schema=call.schema, subresource=call.subresource)
    validation.raise_invalid(causes, obj)
    if call.query.dry_run:
        return Answer(call.view.of_object(obj))
    if is_finished(obj):
        gone = await api.store.delete(record, obj)
        return Answer(call.view.one(gone))
    if writes.unchanged(live, obj):
        return Answer(call.view.one(record))
    return Answer(call.view.one(await api.store.update(obj, previous=record)))


def is_finished(obj: Object) -> bool:
    """Whether an object on its way out has nothing left that holds it."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if obj.get("kind") == "Namespace":
        return not (obj.get("spec") or {}).get("finalizers")
    return not metadata.get("deletionGracePeriodSeconds")


def check_preconditions(call: Call, live: Object, given: Object) -> None:
    """409 when the write names another version or uid than the live object's."""
    current = live["metadata"]
    if (uid := given.get("uid")) and uid != current["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {current['uid']}"
        raise refusals.conflict(call.resource, call.name, why)
    version = given.get("resourceVersion")
    if version and version != current["resourceVersion"]:
        raise refusals.conflict(call.resource, call.name)


def _must_be_new(api: Api, call: Call, name: str) -> None:
    try:
        api.latest(call.resource, call.namespace, name)
    except NotFoundError:
        return
    raise refusals.already_exists(call.resource, name)


def _name_required(call: Call) -> Exception:
    message = "Required value: name or generateName is required"
    cause = Cause("FieldValueRequired", "metadata.name", message)
    details = {"kind": call.resource.kind, "causes": [cause.as_json()]}
    if call.resource.group:
        details["group"] = call.resource.group
    return unprocessable(f'{call.resource.kind} "" is invalid: metadata.name: {message}', details=details)
