"""The volume controller: claims get volumes, which are folders of this machine, and give them back."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from binderops.errors import AlreadyExistsError, NotFoundError
from binderops.kube.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS, Object
from binderops.kube.objects import (
    Key,
    annotations_of,
    is_deleting,
    metadata_of,
    name_of,
    namespace_of,
    spec_of,
    status_of,
    uid_of,
)
from binderops.node.controllers import binding
from binderops.node.controllers.machinery import Context, Controller
from binderops.node.controllers.workloads import is_finished

PROTECTION = "kubernetes.io/pvc-protection"


class ClaimController(Controller):
    """Binds claims: to a volume that is there, or to a folder made for it. One key a claim."""

    name = "persistentvolume-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._claims = self.watch(PERSISTENT_VOLUME_CLAIM)
        self._volumes = self.watch(PERSISTENT_VOLUME, self._claims_for)
        self._classes = context.informers.of(STORAGE_CLASS)
        self._classes.subscribe(lambda _event, _new, _old: self._all_pending())
        self._pods = context.informers.of(POD)
        self._users = self._pods.add_index(_claims_used)
        self._pods.subscribe(self._pod_changed)
        self._folders = context.config.state / "volumes"

    async def start(self) -> None:
        """Make the storage class of local folders, the default one, unless there is one of its name."""
        try:
            await self.context.create(binding.STANDARD_CLASS)
        except AlreadyExistsError:
            return

    def _claims_for(self, volume: Object) -> Sequence[Key]:
        """The claim that a volume is kept for; a free volume may be for any that waits."""
        reference = spec_of(volume).get("claimRef") or {}
        return [(str(reference["namespace"]), str(reference["name"]))] if reference.get("name") else self._pending()

    def _pending(self) -> list[Key]:
        return [key for key, claim in self._claims.objects.items() if status_of(claim).get("phase") != "Bound"]

    def _all_pending(self) -> None:
        for key in self._pending():
            self.queue.add(key)

    def _pod_changed(self, event: str, new: Object, _old: Object | None) -> None:
        if event == "DELETED" or is_finished(new):
            for used in _claims_used(new):
                namespace, _, name = used.partition("/")
                self.queue.add((namespace, name))

    async def sync(self, key: Key) -> float | None:
        """One step of one claim."""
        claim = self._claims.objects.get(key)
        if claim is None:
            return None
        if is_deleting(claim):
            await self._let_go(claim)
            return None
        if PROTECTION not in (metadata_of(claim).get("finalizers") or []):
            finalizers = [*(metadata_of(claim).get("finalizers") or []), PROTECTION]
            claim = await self.context.patch(claim, {"metadata": {"uid": uid_of(claim), "finalizers": finalizers}})
        if spec_of(claim).get("volumeName"):
            await self._follow(claim)
        else:
            await self._bind(claim)
        return None

    async def _let_go(self, claim: Object) -> None:
        """A claim that is deleted stays until no pod uses it: its folder is not taken from under a process."""
        finalizers = metadata_of(claim).get("finalizers") or []
        in_use = any(not is_finished(pod) for pod in self._users.get("/".join((namespace_of(claim), name_of(claim)))))
        if PROTECTION in finalizers and not in_use:
            left = [entry for entry in finalizers if entry != PROTECTION]
            await self.context.patch(claim, {"metadata": {"uid": uid_of(claim), "finalizers": left or None}})

    async def _bind(self, claim: Object) -> None:
        class_name = binding.class_of(claim, self._classes.objects.values())
        own = self._volumes.get("", binding.volume_name(claim))
        volume = own or binding.find_volume(claim, class_name, self._volumes.objects.values())
        if volume is None:
            storage_class = self._classes.get("", class_name) if class_name else None
            refusal = binding.refusal(claim, class_name, storage_class)
            if refusal:
                await self.context.update_status(claim, {"phase": "Pending"})
                await self.recorder.event(claim, *refusal)
                return
            assert storage_class is not None
            volume = await self._provision(claim, storage_class)
        if not spec_of(volume).get("claimRef"):
            body = {"metadata": {"uid": uid_of(volume)}, "spec": {"claimRef": binding.claim_reference(claim)}}
            volume = await self.context.patch(volume, body)
        spec = {"volumeName": name_of(volume)}
        if spec_of(claim).get("storageClassName") is None and class_name:
            spec["storageClassName"] = class_name
        annotations = {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"}
        bound = await self.context.patch(
            claim, {"metadata": {"uid": uid_of(claim), "annotations": annotations}, "spec": spec}
        )
        await self._follow(bound)

    async def _provision(self, claim: Object, storage_class: Object) -> Object:
        folder = self._folders / f"{namespace_of(claim)}_{name_of(claim)}_{uid_of(claim)}"
        await asyncio.to_thread(make_folder, folder)
        try:
            volume = await self.context.create(binding.volume_for(claim, storage_class, folder))
        except AlreadyExistsError:
            volume = await self.client.get(PERSISTENT_VOLUME, binding.volume_name(claim))
        await self.recorder.event(
            claim,
            "ProvisioningSucceeded",
            f"Successfully provisioned volume {name_of(volume)} using {binding.PROVISIONER}",
        )
        return volume

    async def _follow(self, claim: Object) -> None:
        """The status of a claim that names its volume, and of that volume."""
        volume = await self._volume_named(spec_of(claim)["volumeName"])
        if volume is None:
            lost = status_of(claim).get("phase") == "Bound"
            await self.context.update_status(claim, {"phase": "Lost" if lost else "Pending"})
            if lost:
                await self.recorder.event(claim, "ClaimLost", "Bound claim has lost its PersistentVolume", "Warning")
            return
        reference = spec_of(volume).get("claimRef")
        if reference is None:
            body = {"metadata": {"uid": uid_of(volume)}, "spec": {"claimRef": binding.claim_reference(claim)}}
            volume = await self.context.patch(volume, body)
        elif not binding.is_for(reference, claim):
            await self.context.update_status(claim, {"phase": "Pending"})
            message = f"volume {name_of(volume)!r} is already bound to a different claim"
            await self.recorder.event(claim, "FailedBinding", message, "Warning")
            return
        await self.context.update_status(volume, {"phase": "Bound"})
        capacity = {"storage": (spec_of(volume).get("capacity") or {}).get("storage")}
        modes = spec_of(volume).get("accessModes")
        await self.context.update_status(claim, {"phase": "Bound", "capacity": capacity, "accessModes": modes})

    async def _volume_named(self, name: str) -> Object | None:
        volume = self._volumes.get("", name)
        if volume is None:
            try:
                return await self.client.get(PERSISTENT_VOLUME, name)
            except NotFoundError:
                return None
        return volume


class VolumeController(Controller):
    """Gives back volumes whose claim is gone: kept (Retain), or removed with their folder (Delete)."""

    name = "persistentvolume-reclaimer"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._volumes = self.watch(PERSISTENT_VOLUME)
        self._claims = self.watch(PERSISTENT_VOLUME_CLAIM, _volume_of)
        self._folders = context.config.state / "volumes"

    async def sync(self, key: Key) -> float | None:
        """One step of one volume."""
        volume = self._volumes.objects.get(key)
        if volume is None:
            return None
        reference = spec_of(volume).get("claimRef")
        if reference is None or not reference.get("uid"):
            if not is_deleting(volume) and status_of(volume).get("phase") in (None, "Pending"):
                await self.context.update_status(volume, {"phase": "Available"})
            return None
        if await self._has_claim(reference):
            return None
        if spec_of(volume).get("persistentVolumeReclaimPolicy") != "Delete":
            await self.context.update_status(volume, {"phase": "Released"})
            return None
        if annotations_of(volume).get(binding.PROVISIONED_BY) != binding.PROVISIONER:
            await self.context.update_status(volume, {"phase": "Failed", "reason": "NotOurs"})
            message = "it was not made here, so its content is not removed"
            await self.recorder.event(volume, "VolumeFailedDelete", message, "Warning")
            return None
        folder = Path(str((spec_of(volume).get("hostPath") or {}).get("path")))
        if folder.parent == self._folders and folder.name not in ("", ".", ".."):
            await asyncio.to_thread(remove_folder, folder)
        await self.context.delete(volume)
        return None

    async def _has_claim(self, reference: Object) -> bool:
        """Whether the claim is there. Our copy may be behind; data is removed only when the API itself says no."""
        place, name = str(reference.get("namespace")), str(reference.get("name"))
        claim = self._claims.get(place, name)
        if claim is None or uid_of(claim) != reference["uid"]:
            try:
                claim = await self.client.get(PERSISTENT_VOLUME_CLAIM, name, place)
            except NotFoundError:
                return False
        return uid_of(claim) == str(reference["uid"])


def make_folder(folder: Path) -> None:
    """Make a volume's folder, for whoever runs in the pod; the state folder above it shuts others out."""
    folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    folder.mkdir(mode=0o777, exist_ok=True)
    folder.chmod(0o777)


def remove_folder(folder: Path) -> None:
    """Remove a volume's folder with its content; a link in its place is removed, not followed."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _volume_of(claim: Object) -> Sequence[Key]:
    name = spec_of(claim).get("volumeName")
    return [("", str(name))] if name else []


def _claims_used(pod: Object) -> list[str]:
    names = [
        (volume.get("persistentVolumeClaim") or {}).get("claimName") for volume in spec_of(pod).get("volumes") or []
    ]
    return [f"{namespace_of(pod)}/{name}" for name in names if name]
