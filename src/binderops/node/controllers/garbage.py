"""The garbage collector: what is owned goes with its owner, by the rules of ownerReferences and finalizers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from binderops.errors import NotFoundError
from binderops.kube import kinds
from binderops.kube.informer import Index, Informer
from binderops.kube.kinds import Kind, Object, kind_named, kind_of
from binderops.kube.objects import Key, is_deleting, metadata_of, name_of, namespace_of, owners_of, uid_of
from binderops.node.controllers.machinery import Context, Controller

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

COLLECTED: tuple[Kind, ...] = (
    kinds.POD,
    kinds.REPLICA_SET,
    kinds.CONTROLLER_REVISION,
    kinds.DEPLOYMENT,
    kinds.STATEFUL_SET,
    kinds.DAEMON_SET,
    kinds.JOB,
    kinds.CRON_JOB,
    kinds.SERVICE,
    kinds.ENDPOINTS,
    kinds.ENDPOINT_SLICE,
    kinds.CONFIG_MAP,
    kinds.SECRET,
    kinds.SERVICE_ACCOUNT,
    kinds.PERSISTENT_VOLUME_CLAIM,
    kinds.INGRESS,
    kinds.NETWORK_POLICY,
    kinds.POD_DISRUPTION_BUDGET,
    kinds.ROLE,
    kinds.ROLE_BINDING,
)
"""The kinds whose objects are collected when their owners are gone, and that are looked at in foreground deletion."""


class Owners(NamedTuple):
    """An object's owner references by what has become of the owner."""

    present: list[Object]
    leaving: list[Object]
    """Present, but being deleted in the foreground, and waiting for its dependents."""
    absent: list[Object]


def only_metadata(obj: Object) -> Object:
    """What the collector keeps of objects that no other controller reads: no content, no Secret's data."""
    wanted = ("name", "namespace", "uid", "resourceVersion", "ownerReferences", "finalizers", "deletionTimestamp")
    metadata = {key: value for key, value in metadata_of(obj).items() if key in wanted}
    return {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": metadata}


class GarbageCollector(Controller):
    """One key an object: (`group/Kind`, `namespace/name`). Constructed last, so that it uses others' informers."""

    name = "garbage-collector"
    workers = 4

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._informers: dict[Kind, Informer] = {}
        self._indexes: dict[Kind, Index] = {}
        for kind in COLLECTED:
            informer = context.informers.of(kind, keep=only_metadata)
            self._informers[kind] = informer
            self._indexes[kind] = context.informers.owned(kind)
            informer.subscribe(self._changed)

    def _changed(self, event: str, new: Object, old: Object | None) -> None:
        if event == "DELETED":
            for dependent in self.dependents(uid_of(new)):
                self._enqueue(dependent)
            for owner in owners_of(new):  # one that waits in the foreground may have waited for this
                self._enqueue_owner(owner, namespace_of(new))
            return
        was = metadata_of(old) if old is not None else {}
        if is_deleting(new) or (owners_of(new) and was.get("ownerReferences") != owners_of(new)):
            self._enqueue(new)

    def _enqueue(self, obj: Object) -> None:
        kind = kind_of(obj)
        self.queue.add((f"{kind.group}/{kind.kind}", f"{namespace_of(obj)}/{name_of(obj)}"))

    def _enqueue_owner(self, reference: Mapping[str, object], namespace: str) -> None:
        kind = _kind_of_reference(reference)
        if kind is not None and kind in self._informers:
            owner = self._informers[kind].get(namespace if kind.namespaced else "", str(reference.get("name")))
            if owner is not None and is_deleting(owner):
                self._enqueue(owner)

    def dependents(self, uid: str) -> list[Object]:
        """Everything that names this uid as an owner."""
        return [obj for index in self._indexes.values() for obj in index.get(uid)]

    async def sync(self, key: Key) -> float | None:
        """One step for one object: as an owner that is leaving, or as a dependent."""
        group, _, kind_name = key[0].partition("/")
        namespace, _, name = key[1].partition("/")
        kind = kinds.KINDS[(group, kind_name)]
        obj = self._informers[kind].get(namespace, name)
        if obj is None:
            return None
        if is_deleting(obj):
            finalizers = metadata_of(obj).get("finalizers") or []
            if ORPHAN in finalizers:
                await self._orphan(obj)
            elif FOREGROUND in finalizers:
                await self._foreground(obj)
            return None
        if owners_of(obj):
            await self._judge(obj)
        return None

    async def _judge(self, obj: Object) -> None:
        """Delete an object that no owner keeps any more."""
        owners = await self._sort_owners(obj)
        if owners.present:
            gone = {str(owner.get("uid")) for owner in [*owners.absent, *owners.leaving]}
            if gone:
                await self._drop_owners(obj, gone)
            return
        if owners.leaving:
            # Its owner waits for it; what depends on it in turn must go first, so it goes in the foreground too.
            waits = any(_blocks(dependent, uid_of(obj)) for dependent in self.dependents(uid_of(obj)))
            await self.context.delete(obj, propagation="Foreground" if waits else "Background")
        elif owners.absent:
            await self.context.delete(obj)

    async def _sort_owners(self, obj: Object) -> Owners:
        owners = Owners([], [], [])
        for reference in owners_of(obj):
            owner = await self._find_owner(reference, namespace_of(obj))
            if owner is None:
                owners.absent.append(reference)
            elif is_deleting(owner) and FOREGROUND in (metadata_of(owner).get("finalizers") or []):
                owners.leaving.append(reference)
            else:
                owners.present.append(reference)
        return owners

    async def _find_owner(self, reference: Object, namespace: str) -> Object | None:
        """The owner, or None if the API says that it is gone. An owner of an unknown kind counts as present."""
        kind = _kind_of_reference(reference)
        if kind is None:
            return reference
        if kind.namespaced and not namespace:
            await self._misplaced(reference)
            return reference
        place = namespace if kind.namespaced else ""
        name, uid = str(reference.get("name")), reference.get("uid")
        informer = self._informers.get(kind)
        cached = informer.get(place, name) if informer is not None else None
        if cached is not None and uid_of(cached) == uid:
            return cached
        try:  # the copy here may be behind: nothing is deleted before the API itself has said so
            owner = await self.client.get(kind, name, place or None)
        except NotFoundError:
            return None
        return owner if uid_of(owner) == uid else None

    async def _misplaced(self, reference: Object) -> None:
        message = f"ownerRef {reference.get('kind')}/{reference.get('name')} is namespaced, its dependent is not"
        await self.recorder.event({**reference, "metadata": {}}, "OwnerRefInvalidNamespace", message, "Warning")

    async def _foreground(self, obj: Object) -> None:
        dependents = self.dependents(uid_of(obj))
        for dependent in dependents:
            if not is_deleting(dependent):
                self._enqueue(dependent)
        if not any(_blocks(dependent, uid_of(obj)) for dependent in dependents):
            await self._remove_finalizer(obj, FOREGROUND)

    async def _orphan(self, obj: Object) -> None:
        for dependent in self.dependents(uid_of(obj)):
            await self._drop_owners(dependent, {uid_of(obj)})
        await self._remove_finalizer(obj, ORPHAN)

    async def _drop_owners(self, obj: Object, uids: Iterable[str]) -> None:
        left = [owner for owner in owners_of(obj) if owner.get("uid") not in set(uids)]
        version = metadata_of(obj).get("resourceVersion")
        body = {"metadata": {"uid": uid_of(obj), "resourceVersion": version, "ownerReferences": left or None}}
        try:
            await self.context.patch(obj, body)
        except NotFoundError:
            return

    async def _remove_finalizer(self, obj: Object, finalizer: str) -> None:
        left = [entry for entry in metadata_of(obj).get("finalizers") or [] if entry != finalizer]
        version = metadata_of(obj).get("resourceVersion")
        body = {"metadata": {"uid": uid_of(obj), "resourceVersion": version, "finalizers": left or None}}
        try:
            await self.context.patch(obj, body)
        except NotFoundError:
            return


def _blocks(dependent: Object, uid: str) -> bool:
    return any(owner.get("uid") == uid and owner.get("blockOwnerDeletion") for owner in owners_of(dependent))


def _kind_of_reference(reference: Mapping[str, object]) -> Kind | None:
    try:
        return kind_named(str(reference.get("apiVersion", "")), str(reference.get("kind", "")))
    except KeyError:
        return None
