"""Request bodies to objects: JSON, YAML (for applies) and Kubernetes' protobuf, each with its limits.

Duplicate fields are kept account of while reading, since a dict cannot hold them: strict field validation refuses them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from binderops.node.api.objects import protobuf
from binderops.node.api.objects.fieldset import MAX_DEPTH
from binderops.node.api.objects.status import Object, bad_request, too_large, unsupported_media_type

MAX_BODY = 3 * 1024 * 1024
"""kube-apiserver's limit of a request's body, in bytes."""
MAX_VALUES = 500_000
"""How many values a body may unfold to: YAML's aliases can make a small body endless."""

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
APPLY = "application/apply-patch+yaml"


class Decoded(NamedTuple):
    """An object, and the paths of fields that stood twice in its text."""

    object: Object
    duplicates: tuple[str, ...] = ()


def decode_body(body: bytes, content_type: str = JSON) -> Decoded:
    """Read a body. Raises InvalidError: 400 what cannot be read, 413 too large, 415 another media type."""
    decoded = decode_value(body, content_type)
    if not isinstance(decoded.object, dict):
        raise bad_request("the body of the request is not an object")
    return decoded


def decode_value(body: bytes, content_type: str = JSON) -> Decoded:
    """Like `decode_body`, but any JSON value will do (a JSON patch is a list)."""
    if len(body) > MAX_BODY:
        raise too_large(f"Request entity too large: limit is {MAX_BODY}")
    media = content_type.partition(";")[0].strip().lower() or JSON
    if media == PROTOBUF:
        return Decoded(protobuf.decode(body))
    if media in (YAML, APPLY):
        value = _read_yaml(body)
    elif media == JSON or media.endswith("+json"):
        value = _read_json(body)
    else:
        raise unsupported_media_type(
            f"the body of the request was in an unknown format - accepted media types include: "
            f"{JSON}, {YAML}, {PROTOBUF}"
        )
    check_size(value)
    return Decoded(value, tuple(_duplicates(value)))


class _Twice(dict[str, Any]):
    """An object in whose text some names stood more than once."""

    names: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) == len(pairs):
        return result
    names = [name for name, _ in pairs]
    twice = _Twice(result)
    twice.names = tuple(dict.fromkeys(name for name in names if names.count(name) > 1))
    return twice


def _read_json(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise bad_request("the object nests too deep") from error
    except ValueError as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class _Loader(yaml.CSafeLoader):
    """YAML as JSON's types; keys that stand twice are noted."""


def _mapping(loader: Any, node: Any) -> dict[str, Any]:
    if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
        loader.flatten_mapping(node)
    pairs = [
        (loader.construct_object(key, deep=True), loader.construct_object(value, deep=True))
        for key, value in node.value
    ]
    return _object([(key if isinstance(key, str) else json.dumps(key, default=str), value) for key, value in pairs])


def _plain(loader: Any, node: Any) -> Any:
    return loader.construct_scalar(node)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _plain)


def _read_yaml(body: bytes) -> Any:
    if body.lstrip()[:1] in (b"{", b"["):
        return _read_json(body)
    try:
        return yaml.load(body, Loader=_Loader)  # noqa: S506 - a safe loader
    except RecursionError as error:
        raise bad_request("the object nests too deep") from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise bad_request(f"error decoding YAML: {error}") from error


def check_size(value: Any) -> None:
    """Refuse what nests too deep or unfolds to too much, before anything walks it recursively."""
    count, level = 0, [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
            count += 1
        if count + len(below) > MAX_VALUES:
            raise too_large(f"the object has more than {MAX_VALUES} values")
        if not below:
            return
        level = below
    raise bad_request(f"the object nests deeper than {MAX_DEPTH} levels")


def _duplicates(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, _Twice):
        yield from (f"{path}.{name}" if path else name for name in value.names)
    if isinstance(value, dict):
        for name, content in value.items():
            if isinstance(content, dict | list):
                yield from _duplicates(content, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                yield from _duplicates(item, f"{path}[{index}]")
