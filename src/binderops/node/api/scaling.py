"""The scale subresource: replicas, read and set under the kind that all workloads share (autoscaling/v1)."""

from __future__ import annotations

from typing import Any

from binderops.kube.selectors import from_label_selector
from binderops.node.api.context import Api, Call, body_schema, check_kind
from binderops.node.api.http import Answer, json_answer
from binderops.node.api.objects import decoding, strict, writes
from binderops.node.api.objects.json_patch import json_patch
from binderops.node.api.objects.merge import json_merge
from binderops.node.api.objects.status import Cause, bad_request, unprocessable, unsupported_media_type
from binderops.node.api.resources import Resource
from binderops.node.api.writing import check_preconditions, store_changed

Object = dict[str, Any]
_SCALE = Resource("autoscaling", "v1", "Scale", "scales", True, ("get",), {})


async def get_scale(api: Api, call: Call) -> Answer:
    """GET …/scale."""
    return json_answer(_scale_of(api.latest(call.resource, call.namespace, call.name).object()))


async def replace_scale(api: Api, call: Call) -> Answer:
    """PUT …/scale."""
    return await _set(api, call, await call.read_object(kind=_SCALE))


async def patch_scale(api: Api, call: Call) -> Answer:
    """PATCH …/scale; a strategic patch means a merge patch here, since a Scale has no lists."""
    media = call.request.header("content-type").partition(";")[0].strip().lower()
    patch = decoding.decode_value(await call.request.body(), media).object
    scale = _scale_of(api.latest(call.resource, call.namespace, call.name).object())
    match media:
        case writes.JSON_PATCH:
            patched = json_patch(scale, patch)
        case writes.MERGE_PATCH | writes.STRATEGIC_PATCH:
            patched = json_merge(scale, patch)
        case _:
            raise unsupported_media_type(f"scale is patched by {', '.join(writes.PATCHES[:3])}")
    if not isinstance(patched, dict):
        raise bad_request("the patch leaves no object")
    check_kind(patched, _SCALE)
    call.warn(strict.check_fields(patched, body_schema(_SCALE), mode=call.field_validation, patched=True))
    return await _set(api, call, patched)


async def _set(api: Api, call: Call, scale: Object) -> Answer:
    call.check_names(scale)
    record = api.latest(call.resource, call.namespace, call.name)
    live = record.object()
    check_preconditions(call, live, scale["metadata"])
    replicas = (scale.get("spec") or {}).get("replicas") or 0
    if replicas < 0:
        message = f"Invalid value: {replicas}: must be greater than or equal to 0"
        details = {"causes": [Cause("FieldValueInvalid", "spec.replicas", message).as_json()]}
        raise unprocessable(f'Scale.autoscaling "{call.name}" is invalid: spec.replicas: {message}', details=details)
    wanted = {**live, "spec": {**(live.get("spec") or {}), "replicas": replicas}}
    prepared = writes.prepare_replace(
        live, wanted, schema=call.schema, manager=call.manager, now=call.now, subresource="scale"
    )
    await store_changed(api, call, prepared, record=record, live=live)
    if call.query.dry_run:
        return json_answer(_scale_of(prepared))
    return json_answer(_scale_of(api.latest(call.resource, call.namespace, call.name).object()))


def _scale_of(obj: Object) -> Object:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    keys = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    shown: Object = {"replicas": status.get("replicas", 0)}
    if selector := str(from_label_selector(spec.get("selector"))):
        shown["selector"] = selector
    return {
        "kind": _SCALE.kind,
        "apiVersion": _SCALE.api_version,
        "metadata": {key: obj["metadata"][key] for key in keys if key in obj["metadata"]},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": shown,
    }
