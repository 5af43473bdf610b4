"""ConfigMaps, Secrets, service accounts and claims of storage."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

from binderops.kube.quantity import parse_quantity
from binderops.node.api.objects.status import Object
from binderops.node.api.objects.typed import same
from binderops.node.api.objects.validation.fields import (
    Causes,
    forbidden,
    immutable,
    invalid,
    required,
    too_long,
)
from binderops.node.api.objects.validation.names import dns_subdomain

MAX_BYTES = 1024 * 1024
"""The most that the values of a ConfigMap or Secret may hold together."""

_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_KEY_SENTENCE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_SECRET_KEYS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def config_map(obj: Object, old: Object | None) -> Causes:
    """A ConfigMap."""
    text, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    for key in text:
        yield from _key(f"data[{key}]", key)
        if key in binary:
            yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    for key in binary:
        yield from _key(f"binaryData[{key}]", key)
    size = sum(len(str(value).encode()) for value in text.values()) + sum(map(_decoded_size, binary.values()))
    if size > MAX_BYTES:
        yield too_long("", MAX_BYTES)
    yield from _sealed(obj, old, ("data", "binaryData"))


def secret(obj: Object, old: Object | None) -> Causes:
    """A Secret: its size, the keys that its type needs, its type for ever."""
    data, kind = obj.get("data") or {}, obj.get("type")
    for key in data:
        yield from _key(f"data[{key}]", key)
    if sum(map(_decoded_size, data.values())) > MAX_BYTES:
        yield too_long("data", MAX_BYTES)
    for key in _SECRET_KEYS.get(str(kind), ()):
        if key not in data:
            yield required(f"data[{key}]")
        elif key.startswith(".docker") and not _is_json(data[key]):
            yield invalid(f"data[{key}]", "<secret contents redacted>", "invalid character in JSON")
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        yield required("data[username]")
        yield required("data[password]")
    if kind == "kubernetes.io/service-account-token":
        annotations = (obj.get("metadata") or {}).get("annotations") or {}
        if not annotations.get("kubernetes.io/service-account.name"):
            yield required("metadata.annotations[kubernetes.io/service-account.name]")
    if old is not None:
        yield from immutable("type", old.get("type"), kind)
    yield from _sealed(obj, old, ("data",))


def claim(obj: Object, old: Object | None) -> Causes:
    """A PersistentVolumeClaim; once made it may grow, and be bound."""
    spec = obj.get("spec") or {}
    if not spec.get("accessModes"):
        yield required("spec.accessModes", "at least 1 access mode is required")
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        yield required("spec.resources[storage]")
    elif _amount(storage) is None or (_amount(storage) or 0) <= 0:
        yield invalid("spec.resources[storage]", storage, "must be greater than zero")
    if spec.get("storageClassName"):
        yield from dns_subdomain("spec.storageClassName", spec["storageClassName"])
    if old is not None:
        yield from _claim_update(spec, old)


def _claim_update(spec: Mapping[str, Any], old: Object) -> Causes:
    before = dict(old.get("spec") or {})
    if not before.get("volumeName"):
        before["volumeName"] = spec.get("volumeName")
    if before.get("storageClassName") is None:
        before["storageClassName"] = spec.get("storageClassName")
    new_size, old_size = _storage(spec), _storage(before)
    rest = [
        {
            key: value
            for key, value in each.items()
            if key not in ("resources", "volumeAttributesClassName") and value is not None
        }
        for each in (before, spec)
    ]
    if not same(*rest):
        detail = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        yield forbidden("spec", detail)
    elif new_size is not None and old_size is not None and new_size < old_size:
        detail = "field can not be less than status.capacity"
        yield forbidden("spec.resources.requests.storage", detail)


def volume(obj: Object, old: Object | None) -> Causes:
    """A PersistentVolume."""
    spec = obj.get("spec") or {}
    if not spec.get("accessModes"):
        yield required("spec.accessModes")
    if "storage" not in (spec.get("capacity") or {}):
        yield required("spec.capacity")
    if old is not None:
        yield from immutable("spec.volumeMode", (old.get("spec") or {}).get("volumeMode"), spec.get("volumeMode"))


def storage_class(obj: Object, old: Object | None) -> Causes:
    """A StorageClass: all but metadata and expansion is fixed."""
    if not obj.get("provisioner"):
        yield required("provisioner")
    if old is not None:
        for field in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
            if not same(old.get(field), obj.get(field)):
                yield forbidden(field, "updates to " + field + " are forbidden.")


def _key(path: str, key: str) -> Causes:
    if len(key) > 253:
        yield invalid(path, key, "must be no more than 253 bytes")
    if not _KEY.fullmatch(key):
        yield invalid(path, key, _KEY_SENTENCE)
    elif key in (".", "..") or key.startswith("../"):
        yield invalid(path, key, f"must not be '{key}'")


def _sealed(obj: Object, old: Object | None, fields: tuple[str, ...]) -> Causes:
    """`immutable: true` cannot be taken back, and holds the data as it is."""
    if old is None or not old.get("immutable"):
        return
    if not obj.get("immutable"):
        yield forbidden("immutable", "field is immutable when `immutable` is set")
    for field in fields:
        if not same(old.get(field) or {}, obj.get(field) or {}):
            yield forbidden(field, "field is immutable when `immutable` is set")


def _decoded_size(text: Any) -> int:
    return len(str(text)) * 3 // 4 - str(text)[-2:].count("=")


def _is_json(text: Any) -> bool:
    try:
        return isinstance(json.loads(base64.b64decode(str(text))), dict)
    except (binascii.Error, ValueError):
        return False


def _storage(spec: Mapping[str, Any]) -> Any:
    return _amount(((spec.get("resources") or {}).get("requests") or {}).get("storage"))


def _amount(text: Any) -> Any:
    try:
        return parse_quantity(text)
    except ValueError:
        return None
