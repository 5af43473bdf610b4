"""A whole write, in kube-apiserver's order: decode, patch, check fields, default, track owners, prepare.

What is left to the server: admission, allocation (cluster addresses), validation, resource versions, the store.
"""

from __future__ import annotations

from datetime import datetime

from binderops.kube.objects import without_version
from binderops.kube.schemas import Schema
from binderops.node.api.objects.apply import apply_patch, kept_times, track_update
from binderops.node.api.objects.decoding import APPLY, check_size, decode_body, decode_value
from binderops.node.api.objects.defaults import apply_defaults
from binderops.node.api.objects.json_patch import json_patch
from binderops.node.api.objects.merge import json_merge
from binderops.node.api.objects.preparing import kept_metadata, prepare_for_create, prepare_for_update
from binderops.node.api.objects.status import Object, bad_request, unsupported_media_type
from binderops.node.api.objects.strategic import strategic_merge
from binderops.node.api.objects.strict import check_fields
from binderops.node.api.objects.typed import same

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY)


def prepare_create(obj: Object, *, schema: Schema, manager: str, now: datetime, uid: str | None = None) -> Object:
    """A decoded object, ready for admission: defaults, managedFields, uid, name, generation, first status."""
    if (obj.get("metadata") or {}).get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    complete = apply_defaults(obj, schema)
    tracked = track_update(None, complete, manager=manager, schema=schema, now=now)
    return prepare_for_create(tracked, schema=schema, now=now, uid=uid)


def prepare_replace(
    live: Object, obj: Object, *, schema: Schema, manager: str, now: datetime, subresource: str = ""
) -> Object:
    """A decoded object that replaces the live one. The caller has compared resource versions."""
    _check_identity(live, obj)
    complete = apply_defaults(obj, schema)
    return _tracked(live, complete, schema=schema, manager=manager, now=now, subresource=subresource)


def prepare_patch(
    live: Object | None,
    body: bytes,
    content_type: str,
    *,
    schema: Schema,
    manager: str,
    now: datetime,
    subresource: str = "",
    field_validation: str = "Warn",
    force: bool = False,
) -> tuple[Object, list[str]]:
    """The live object with a patch, and the warnings for the client. Only an apply may have `live` None: it creates.

    Raises InvalidError (400, 413, 415, 422, 500 as kube-apiserver answers) and, for applies, ConflictError.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media == APPLY:
        decoded = decode_body(body, media)
        warnings = _duplicate_fields(decoded.duplicates, field_validation)
        applied = _applied(live, decoded.object, schema, manager, now, subresource, force)
        return applied, warnings
    if live is None:
        raise bad_request("only server-side apply creates what is not there")
    if media not in PATCHES:
        raise unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: " + ", ".join(PATCHES)
        )
    decoded = decode_value(body, media)
    patched = _patched(live, decoded.object, media, schema)
    check_size(patched)  # many small operations can nest as deep as one large body
    warnings = check_fields(
        patched, schema, mode=field_validation or "Warn", duplicates=decoded.duplicates, patched=True
    )
    _check_identity(live, patched)
    complete = apply_defaults(patched, schema)
    new = _tracked(live, complete, schema=schema, manager=manager, now=now, subresource=subresource)
    return new, warnings


def unchanged(old: Object, new: Object) -> bool:
    """Whether a write changes nothing but what the store itself sets, so that the old version stands."""
    return same(without_version(old), without_version(new))


def _patched(live: Object, patch: object, media: str, schema: Schema) -> Object:
    if media == JSON_PATCH:
        return json_patch(live, patch)
    if not isinstance(patch, dict):
        raise bad_request("the patch is not an object")
    if media == MERGE_PATCH:
        merged = json_merge(live, patch)
        return merged if isinstance(merged, dict) else {}
    return strategic_merge(live, patch, schema=schema)


def _applied(
    live: Object | None, patch: Object, schema: Schema, manager: str, now: datetime, subresource: str, force: bool
) -> Object:
    if not manager:
        raise bad_request(
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
        )
    if live is not None:
        _check_identity(live, patch)
    merged = apply_patch(live, patch, manager=manager, force=force, subresource=subresource, schema=schema, now=now)
    complete = apply_defaults(merged, schema)
    if live is None:
        return prepare_for_create(complete, schema=schema, now=now)
    return kept_times(live, prepare_for_update(live, complete, schema=schema, subresource=subresource))


def _tracked(
    live: Object, complete: Object, *, schema: Schema, manager: str, now: datetime, subresource: str
) -> Object:
    complete = {**complete, "metadata": kept_metadata(live, complete)}
    tracked = track_update(live, complete, manager=manager, subresource=subresource, schema=schema, now=now)
    return kept_times(live, prepare_for_update(live, tracked, schema=schema, subresource=subresource))


def _check_identity(live: Object, new: Object) -> None:
    """A write does not make another object of it."""
    for key in ("apiVersion", "kind"):
        if new.get(key) != live.get(key):
            raise bad_request(
                f"the {key} in the data ({new.get(key)}) does not match the expected {key} ({live.get(key)})"
            )
    name, given = (live.get("metadata") or {}).get("name"), (new.get("metadata") or {}).get("name")
    if given and given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


def _duplicate_fields(duplicates: tuple[str, ...], mode: str) -> list[str]:
    sentences = [f'duplicate field "{path}"' for path in duplicates]
    if sentences and mode == "Strict":
        raise bad_request(f"error strict decoding YAML: {', '.join(sentences)}")
    return sentences if mode == "Warn" else []
