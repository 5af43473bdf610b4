"""Server-side apply, and the tracking of owners through every other write.

`apply_patch` merges an applied configuration into a live object: fields that others own and that would change are
conflicts, fields that the manager applied before and no longer does go unless another owns them. `track_update` gives
fields that a create, update or patch changed to its manager. Both are structured-merge-diff's Updater inside
kube-apiserver's chain of field managers (strip metadata, cap updaters, before-first-apply), for kinds of one version.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from binderops.errors import ConflictError
from binderops.kube.objects import without_version
from binderops.kube.schemas import Schema
from binderops.node.api.objects import typed
from binderops.node.api.objects.fieldset import FieldSet, Path, path_text
from binderops.node.api.objects.managed import (
    BEFORE_FIRST_APPLY,
    Managers,
    Owned,
    applier,
    decode,
    encode,
    is_reset,
    union,
    updater,
    with_limit,
    without_empty,
)
from binderops.node.api.objects.normal import empty_object, without_nulls
from binderops.node.api.objects.reset import reset_fields
from binderops.node.api.objects.status import Cause, Object, apply_conflict, bad_request, internal_error

NEVER_MANAGED = FieldSet.of(
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata",),
    *(
        ("f:metadata", f"f:{name}")
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    ),
)


def apply_patch(
    live: Object | None,
    patch: Object,
    *,
    manager: str,
    force: bool,
    subresource: str = "",
    schema: Schema,
    now: datetime,
) -> Object:
    """The object after an apply, with `managedFields`; `live` None creates it.

    An apply that changes nothing returns the live object, times included. Raises ConflictError (409, one cause for each
    field), InvalidError 400 where the patch carries managedFields, 500 where it does not fit the type.
    """
    _check_patch(patch, schema)
    before = without_managed_fields(live) if live is not None else empty_object(patch, schema)
    managers = _decoded(live)
    if live is not None and not managers:
        managers = _taken_by_first(before, patch, schema)
    us = applier(manager, subresource)
    last = managers.get(us)
    ours = typed.field_set(patch, schema).without_trees(reset_fields(patch, subresource))
    managers = {**managers, us: Owned(ours, str(patch["apiVersion"]), _text(now))}
    try:
        merged = typed.merge(before, patch, schema)
        merged = _pruned(merged, managers, last, schema)
        difference = typed.compare(before, merged, schema).without_trees(reset_fields(patch, subresource))
    except typed.TypedError as error:
        raise internal_error(f"failed to merge the applied configuration: {error}") from error
    managers = _disowned(managers, difference, but=us, force=force)
    managers = _stripped(managers, us)
    return _settled(live, without_nulls(merged, schema), managers)


def track_update(
    old: Object | None,
    new: Object,
    *,
    manager: str,
    subresource: str = "",
    schema: Schema,
    now: datetime,
) -> Object:
    """The new object with `managedFields` after a create (`old` None), update or patch by a manager.

    A request may carry managedFields: one empty entry clears them, entries replace the live ones, none keeps them.
    """
    managers = _requested(old, new, subresource)
    after = without_managed_fields(new)
    if old is not None and not managers and (old.get("metadata") or {}).get("uid"):
        return after  # an object whose owners were cleared stays without, until the first apply
    before = without_managed_fields(old) if old is not None else empty_object(new, schema)
    ignored = reset_fields(new, subresource)
    try:
        difference = typed.compare(before, after, schema).without_trees(ignored)
    except typed.TypedError:
        return after | {"metadata": {**(after.get("metadata") or {}), "managedFields": encode(managers)}}
    managers = _disowned(managers, difference, but=None, force=True)
    taken = difference.modified | difference.added
    us = updater(manager, str(new.get("apiVersion", "")), subresource)
    if not taken.is_empty():
        previous = managers.get(us)
        fields = taken | previous.fields if previous else taken
        managers[us] = Owned(fields, us.api_version, _text(now))
        managers = with_limit(_stripped(managers, us))
    return _settled(old, after, managers)


def without_managed_fields(obj: Object) -> Object:
    """The object without `metadata.managedFields`."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def kept_times(old: Object, new: Object) -> Object:
    """The new object; with the old owners' times where nothing else changed, so that no write is needed."""
    return _settled(old, new, _decoded(new))


def _check_patch(patch: Object, schema: Schema) -> None:
    if (patch.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    problems = sorted(typed.problems(patch, schema))
    if problems:
        metadata = patch.get("metadata") or {}
        name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
        where = f"{name}; {patch.get('apiVersion')}, Kind={patch.get('kind')}"
        what = problems[0] if len(problems) == 1 else "errors:\n" + "\n".join(f"  {each}" for each in problems)
        raise internal_error(f"failed to create typed patch object ({where}): {what}")


def _taken_by_first(before: Object, patch: Object, schema: Schema) -> Managers:
    """What is there before anything was tracked belongs to a manager of its own, so that an apply conflicts with it."""
    difference = typed.compare(empty_object(patch, schema), before, schema)
    manager = updater(BEFORE_FIRST_APPLY, str(patch["apiVersion"]), "")
    return _stripped({manager: Owned(difference.added | difference.modified, manager.api_version)}, manager)


def _pruned(merged: Any, managers: Managers, last: Owned | None, schema: Schema) -> Any:
    """Without what the manager applied last time and nobody owns now.

    Removing an item takes all that lies in it, so what others own there is put back, and so is what nobody owned
    (a default, say) inside an item that stays.
    """
    if last is None or last.fields.is_empty():
        return merged
    dropped = last.fields.with_named_fields(schema)
    pruned = typed.remove(merged, dropped, schema)
    everything = typed.field_set(merged, schema).with_named_fields(schema)
    owned = union(each.fields for each in managers.values()).with_named_fields(schema)
    kept = typed.field_set(pruned, schema).with_named_fields(schema)
    pruned = typed.remove(merged, everything - (kept | owned), schema)
    kept = typed.field_set(pruned, schema).with_named_fields(schema)
    return typed.remove(merged, (everything - kept) & dropped, schema)


def _disowned(managers: Managers, difference: typed.Comparison, *, but: Any, force: bool) -> Managers:
    """Take changed and removed fields from all other managers; unless forced, a changed one is a conflict."""
    changed = difference.modified | difference.added
    result: Managers = {}
    conflicts: list[tuple[Any, Path]] = []
    for manager, owned in managers.items():
        if manager == but:
            result[manager] = owned
            continue
        conflicting = owned.fields & changed
        conflicts += [(manager, path) for path in conflicting.paths()]
        result[manager] = replace(owned, fields=owned.fields - conflicting - difference.removed)
    if conflicts and not force:
        raise _conflict(conflicts)
    return without_empty(result)


def _conflict(conflicts: list[tuple[Any, Path]]) -> ConflictError:
    conflicts = sorted(conflicts, key=lambda each: (str(each[0]), each[1]))
    causes = [Cause("FieldManagerConflict", path_text(path), f"conflict with {manager}") for manager, path in conflicts]
    if len(conflicts) == 1:
        manager, path = conflicts[0]
        return apply_conflict(f"Apply failed with 1 conflict: conflict with {manager}: {path_text(path)}", causes)
    paths: dict[str, list[str]] = {}
    for manager, path in conflicts:
        paths.setdefault(str(manager), []).append(path_text(path))
    parts = [f"conflicts with {name}:\n" + "\n".join(f"- {each}" for each in them) for name, them in paths.items()]
    return apply_conflict(f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(parts), causes)


def _stripped(managers: Managers, manager: Any) -> Managers:
    """Without the metadata that nobody owns."""
    owned = managers.get(manager)
    if owned is None:
        return managers
    return without_empty({**managers, manager: replace(owned, fields=owned.fields - NEVER_MANAGED)})


def _settled(old: Object | None, new: Object, managers: Managers) -> Object:
    """With managedFields; where only times would differ, the old ones stay, so that no write is needed."""
    if old is not None:
        before = _decoded(old)
        owners_same = before.keys() == managers.keys() and all(
            before[each].fields == managers[each].fields and before[each].api_version == managers[each].api_version
            for each in before
        )
        if owners_same and typed.same(_comparable(old), _comparable(new)):
            managers = before
    metadata = {key: value for key, value in (new.get("metadata") or {}).items() if key != "managedFields"}
    if managers:
        metadata["managedFields"] = encode(managers)
    return {**new, "metadata": metadata}


def _comparable(obj: Object) -> Object:
    return without_version(without_managed_fields(obj))


def _requested(old: Object | None, new: Object, subresource: str) -> Managers:
    live = _decoded(old)
    if subresource:
        return live
    entries = (new.get("metadata") or {}).get("managedFields")
    if is_reset(entries):
        return {}
    try:
        return decode(entries) or live
    except ValueError:
        return live


def _decoded(obj: Object | None) -> Managers:
    """The live owners; unreadable ones count as none, as in kube-apiserver."""
    try:
        return decode(((obj or {}).get("metadata") or {}).get("managedFields"))
    except ValueError:
        return {}


def _text(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
