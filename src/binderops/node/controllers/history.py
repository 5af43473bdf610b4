"""ControllerRevisions: the templates that a StatefulSet or a DaemonSet has had."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from binderops.errors import AlreadyExistsError
from binderops.kube.kinds import CONTROLLER_REVISION, Object
from binderops.kube.objects import labels_of, metadata_of, name_of, namespace_of, owner_reference, spec_of, uid_of
from binderops.node.controllers.machinery import Context
from binderops.node.controllers.workloads import template_hash

HASH_LABEL = "controller-revision-hash"


def data_of(owner: Object) -> Object:
    """What a revision keeps, and a rollback patches back: the pod template (`kubectl rollout undo` reads it)."""
    return {"spec": {"template": {**(spec_of(owner).get("template") or {}), "$patch": "replace"}}}


def number_of(revision: Object) -> int:
    """A revision's number."""
    return int(revision.get("revision") or 0)


async def current_revision(context: Context, owner: Object, revisions: Sequence[Object]) -> Object:
    """The revision of the owner's template as it is now, made or moved to the newest place where it must be."""
    data = data_of(owner)
    newest = max(map(number_of, revisions), default=0)
    same = next((revision for revision in revisions if revision.get("data") == data), None)
    if same is None:
        return await _create(context, owner, data, newest + 1)
    if number_of(same) < newest:  # a rollback: an old template is the newest again
        return await context.patch(same, {"metadata": {"uid": uid_of(same)}, "revision": newest + 1})
    return same


async def forget(context: Context, owner: Object, revisions: Sequence[Object], in_use: Collection[str]) -> None:
    """Remove the oldest revisions that nothing uses, beyond revisionHistoryLimit (10 unless set)."""
    limit = spec_of(owner).get("revisionHistoryLimit")
    idle = sorted((revision for revision in revisions if name_of(revision) not in in_use), key=number_of)
    surplus = len(idle) - (10 if limit is None else int(limit))
    for revision in idle[: max(0, surplus)]:
        await context.delete(revision)


async def _create(context: Context, owner: Object, data: Any, number: int) -> Object:
    template = spec_of(owner).get("template") or {}
    for collisions in range(8):
        digest = template_hash(template, collisions)
        revision: Object = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": f"{name_of(owner)}-{digest}",
                "namespace": namespace_of(owner),
                "labels": {**labels_of(template), HASH_LABEL: digest},
                "ownerReferences": [owner_reference(owner)],
            },
            "data": data,
            "revision": number,
        }
        try:
            return await context.create(revision)
        except AlreadyExistsError:
            taken = await context.client.get(CONTROLLER_REVISION, name_of(revision), namespace_of(owner))
            if any(reference.get("uid") == uid_of(owner) for reference in metadata_of(taken)["ownerReferences"]):
                context.informers.observe(taken)
                return taken
    raise RuntimeError(f"no free name for a revision of {name_of(owner)}")


def hash_of(revision: Object) -> str:
    """The value of a pod's label `controller-revision-hash`: what follows the owner's name, or the label."""
    return labels_of(revision).get(HASH_LABEL) or name_of(revision)
