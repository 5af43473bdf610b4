"""Volumes of a pod: a name, one source, and what each source needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from binderops.node.api.objects.validation.containers import field_reference, relative_path
from binderops.node.api.objects.validation.fields import (
    Causes,
    at_least,
    forbidden,
    invalid,
    items,
    repeated,
    required,
)
from binderops.node.api.objects.validation.names import dns_label

_REQUIRED = {
    # source: the field that it cannot do without
    "secret": "secretName",
    "configMap": "name",
    "hostPath": "path",
    "persistentVolumeClaim": "claimName",
    "nfs": "path",
    "csi": "driver",
}
_VOLUME_FIELDS = frozenset(
    {"metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations"}
)
_PROJECTIONS = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate")


def volumes(spec: Mapping[str, Any], path: str) -> Causes:
    """All volumes of a pod spec."""
    yield from repeated(spec.get("volumes"), f"{path}.volumes", "name")
    for place, volume in items(spec.get("volumes"), f"{path}.volumes"):
        if not volume.get("name"):
            yield required(f"{place}.name")
        else:
            yield from dns_label(f"{place}.name", volume["name"])
        sources = [key for key in volume if key != "name"]
        if not sources:
            yield required(place, "must specify a volume type")
        for extra in sources[1:]:
            yield forbidden(f"{place}.{extra}", "may not specify more than 1 volume type")
        for source in sources[:1]:
            yield from _source(source, volume[source] or {}, f"{place}.{source}")


def _source(kind: str, source: Mapping[str, Any], path: str) -> Causes:
    needed = _REQUIRED.get(kind)
    if needed and not source.get(needed):
        yield required(f"{path}.{needed}")
    yield from _mode(source.get("defaultMode"), f"{path}.defaultMode")
    if kind == "hostPath" and ".." in str(source.get("path", "")).split("/"):
        yield invalid(f"{path}.path", source["path"], "must not contain '..'")
    yield from _files(kind, source, path)
    if kind == "projected":
        for place, projection in items(source.get("sources"), f"{path}.sources"):
            yield from _projection(projection, place)


def _projection(projection: Mapping[str, Any], path: str) -> Causes:
    given = [kind for kind in _PROJECTIONS if projection.get(kind) is not None]
    if not given:
        yield required(path, "must specify a volume source")
    for extra in given[1:]:
        yield forbidden(f"{path}.{extra}", "may not specify more than 1 volume source per projection")
    for kind in given[:1]:
        source = projection[kind]
        if kind in ("secret", "configMap") and not source.get("name"):
            yield required(f"{path}.{kind}.name")
        if kind == "serviceAccountToken":
            yield from at_least(f"{path}.{kind}.expirationSeconds", source.get("expirationSeconds"), 600)
            if not source.get("path"):
                yield required(f"{path}.{kind}.path")
        yield from _files(kind, source, f"{path}.{kind}")


def _files(kind: str, source: Mapping[str, Any], path: str) -> Causes:
    if kind not in ("secret", "configMap", "downwardAPI"):
        return
    for place, item in items(source.get("items"), f"{path}.items"):
        if kind != "downwardAPI" and not item.get("key"):
            yield required(f"{place}.key")
        if not item.get("path"):
            yield required(f"{place}.path")
        else:
            yield from relative_path(f"{place}.path", str(item["path"]))
        yield from _mode(item.get("mode"), f"{place}.mode")
        if kind == "downwardAPI" and (reference := item.get("fieldRef")):
            yield from field_reference(reference, f"{place}.fieldRef", _VOLUME_FIELDS)


def _mode(value: Any, path: str) -> Causes:
    if isinstance(value, int) and not 0 <= value <= 0o777:
        yield invalid(path, value, "must be a number between 0 and 0777 (octal), both inclusive")
