"""What the files of a configMap, secret, downwardAPI or projected volume are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from binderops.errors import VolumeSetupError
from binderops.kube.kinds import CONFIG_MAP, SECRET, Kind, Object
from binderops.kube.objects import namespace_of, spec_of
from binderops.node.pods.downward import field_value, resource_value
from binderops.node.pods.environment import Fetch, entries_of
from binderops.node.pods.payload import File, checked_path

DEFAULT_MODE = 0o644
Mint = Callable[[Object, str, int], Awaitable[str]]
"""(pod, audience, seconds) -> a ServiceAccount token bound to the pod."""


class Context(NamedTuple):
    """What sources are read from."""

    fetch: Fetch
    mint: Mint
    pod_address: str
    host_address: str
    allocatable: Mapping[str, str]


def is_payload(volume: Mapping[str, Any]) -> bool:
    """Whether a volume's files come from the API and follow it."""
    return any(volume.get(kind) is not None for kind in ("configMap", "secret", "downwardAPI", "projected"))


def objects_of(volume: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(kind, name) of each ConfigMap and Secret that the volume is made from."""
    found = set()
    if source := volume.get("configMap"):
        found.add(("ConfigMap", str(source.get("name"))))
    if source := volume.get("secret"):
        found.add(("Secret", str(source.get("secretName"))))
    for part in (volume.get("projected") or {}).get("sources") or []:
        for key, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
            if part.get(key):
                found.add((kind, str(part[key].get("name"))))
    return found


async def files_of(pod: Object, volume: Mapping[str, Any], context: Context) -> dict[str, File]:
    """The files of a volume for which `is_payload` holds, by path; VolumeSetupError where something is missing."""
    if (source := volume.get("configMap")) is not None:
        return await _of_object(CONFIG_MAP, pod, str(source.get("name")), source, _mode(source), context)
    if (source := volume.get("secret")) is not None:
        return await _of_object(SECRET, pod, str(source.get("secretName")), source, _mode(source), context)
    if (source := volume.get("downwardAPI")) is not None:
        return _of_pod(pod, source, _mode(source), context)
    projected = volume["projected"]
    files: dict[str, File] = {}
    for part in projected.get("sources") or []:
        files.update(await _of_projection(pod, part, _mode(projected), context))
    return files


async def _of_projection(pod: Object, part: Mapping[str, Any], mode: int, context: Context) -> dict[str, File]:
    if (source := part.get("configMap")) is not None:
        return await _of_object(CONFIG_MAP, pod, str(source.get("name")), source, mode, context)
    if (source := part.get("secret")) is not None:
        return await _of_object(SECRET, pod, str(source.get("name")), source, mode, context)
    if (source := part.get("downwardAPI")) is not None:
        return _of_pod(pod, source, mode, context)
    if (source := part.get("serviceAccountToken")) is not None:
        seconds = int(source.get("expirationSeconds") or 3600)
        token = await context.mint(pod, str(source.get("audience") or ""), seconds)
        return {checked_path(str(source["path"])): File(token.encode(), mode)}
    raise VolumeSetupError(f"unsupported projection: {', '.join(part)}")


async def _of_object(
    kind: Kind, pod: Object, name: str, source: Mapping[str, Any], mode: int, context: Context
) -> dict[str, File]:
    found = await context.fetch(kind, namespace_of(pod), name)
    optional = bool(source.get("optional"))
    if found is None:
        if optional:
            return {}
        raise VolumeSetupError(f'{kind.kind.lower()} "{name}" not found')
    entries = entries_of(found)
    items = source.get("items")
    if not items:
        return {checked_path(key): File(content, mode) for key, content in entries.items()}
    files = {}
    for item in items:
        key = str(item["key"])
        if key not in entries:
            if optional:
                continue
            raise VolumeSetupError(f"references non-existent {kind.kind.lower()} key: {key}")
        files[checked_path(str(item["path"]))] = File(entries[key], _item_mode(item, mode))
    return files


def _of_pod(pod: Object, source: Mapping[str, Any], mode: int, context: Context) -> dict[str, File]:
    files = {}
    for item in source.get("items") or []:
        if reference := item.get("fieldRef"):
            text = field_value(
                str(reference["fieldPath"]), pod, pod_address=context.pod_address, host_address=context.host_address
            )
        else:
            reference = item["resourceFieldRef"]
            container = next(c for c in spec_of(pod)["containers"] if c["name"] == reference["containerName"])
            text = resource_value(reference, container, allocatable=context.allocatable)
        files[checked_path(str(item["path"]))] = File(text.encode(), _item_mode(item, mode))
    return files


def _mode(source: Mapping[str, Any]) -> int:
    mode = source.get("defaultMode")
    return DEFAULT_MODE if mode is None else int(mode)


def _item_mode(item: Mapping[str, Any], mode: int) -> int:
    return mode if item.get("mode") is None else int(item["mode"])
