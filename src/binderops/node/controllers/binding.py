"""Which volume a claim gets: decisions only, no requests and no files."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Literal

from binderops.kube.kinds import Object
from binderops.kube.objects import (
    annotations_of,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    spec_of,
    status_of,
    uid_of,
)
from binderops.kube.quantity import parse_quantity
from binderops.kube.selectors import from_label_selector

PROVISIONER = "binderops.dev/local-folder"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"

STANDARD_CLASS: Object = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {DEFAULT_CLASS: "true"}},
    "provisioner": PROVISIONER,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "Immediate",
    "allowVolumeExpansion": False,
}

_MODES = {"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"}


def class_of(claim: Object, classes: Iterable[Object]) -> str:
    """The claim's storage class: what it says ("" is none), else the default one, else ""."""
    name = spec_of(claim).get("storageClassName")
    if name is not None:
        return str(name)
    defaults = [name_of(entry) for entry in classes if annotations_of(entry).get(DEFAULT_CLASS) == "true"]
    return min(defaults, default="")


def find_volume(claim: Object, class_name: str, volumes: Iterable[Object]) -> Object | None:
    """The smallest free volume that the claim can have, or one that is kept for it by its claimRef."""
    fitting = []
    for volume in volumes:
        reference = spec_of(volume).get("claimRef")
        if reference is not None:
            if is_for(reference, claim):
                return volume
            continue
        if not is_deleting(volume) and _fits(claim, class_name, volume):
            fitting.append(volume)
    return min(fitting, key=lambda volume: (_capacity(volume), name_of(volume)), default=None)


def refusal(
    claim: Object, class_name: str, storage_class: Object | None
) -> tuple[str, str, Literal["Normal", "Warning"]] | None:
    """Why no folder is made for a claim, as an Event; None if one can be."""
    if not class_name:
        message = "no persistent volumes available for this claim and no storage class is set"
        return "FailedBinding", message, "Normal"
    if storage_class is None:
        return "ProvisioningFailed", f'storageclass.storage.k8s.io "{class_name}" not found', "Warning"
    provisioner = storage_class.get("provisioner")
    if provisioner != PROVISIONER:
        message = f"Waiting for a volume to be created by the external provisioner {provisioner!r}: none runs here"
        return "ExternalProvisioning", message, "Normal"
    unknown = sorted(set(spec_of(claim).get("accessModes") or []) - _MODES)
    if unknown:
        return "ProvisioningFailed", f"unknown access modes: {', '.join(unknown)}", "Warning"
    if spec_of(claim).get("volumeMode") == "Block":
        return "ProvisioningFailed", "volumeMode Block is not supported by local folders", "Warning"
    if spec_of(claim).get("selector"):
        return "ProvisioningFailed", "claim.spec.selector is not supported for dynamic provisioning", "Warning"
    if spec_of(claim).get("dataSource") or spec_of(claim).get("dataSourceRef"):
        return "ProvisioningFailed", "dataSource is not supported by local folders", "Warning"
    return None


def volume_name(claim: Object) -> str:
    """The name of the volume made for a claim."""
    return f"pvc-{uid_of(claim)}"


def volume_for(claim: Object, storage_class: Object, folder: Path) -> Object:
    """The volume made for a claim: a folder of this machine. Its size is a statement, not a limit."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(claim), "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": _requested(claim)},
            "accessModes": spec_of(claim).get("accessModes") or ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": name_of(storage_class),
            "volumeMode": "Filesystem",
            "hostPath": {"path": str(folder), "type": "DirectoryOrCreate"},
            "claimRef": claim_reference(claim),
        },
    }


def claim_reference(claim: Object) -> Object:
    """`spec.claimRef` of a volume that belongs to the claim."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": namespace_of(claim),
        "name": name_of(claim),
        "uid": uid_of(claim),
    }


def is_for(reference: Object, claim: Object) -> bool:
    """Whether a claimRef (which may lack the uid, if a person wrote it) is the claim's."""
    place = (reference.get("namespace"), reference.get("name"))
    return place == (namespace_of(claim), name_of(claim)) and reference.get("uid") in (None, "", uid_of(claim))


def _fits(claim: Object, class_name: str, volume: Object) -> bool:
    spec = spec_of(volume)
    selector = spec_of(claim).get("selector")
    return bool(
        (spec.get("storageClassName") or "") == class_name
        and status_of(volume).get("phase") in (None, "Pending", "Available")
        and set(spec_of(claim).get("accessModes") or []) <= set(spec.get("accessModes") or [])
        and (spec.get("volumeMode") or "Filesystem") == (spec_of(claim).get("volumeMode") or "Filesystem")
        and _capacity(volume) >= parse_quantity(_requested(claim))
        and (not selector or from_label_selector(selector).matches(labels_of(volume)))
    )


def _requested(claim: Object) -> str:
    return str(((spec_of(claim).get("resources") or {}).get("requests") or {}).get("storage") or "0")


def _capacity(volume: Object) -> Decimal:
    return parse_quantity(str((spec_of(volume).get("capacity") or {}).get("storage") or "0"))
