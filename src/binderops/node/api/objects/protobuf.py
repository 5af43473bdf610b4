"""Kubernetes' protobuf bodies, decoded to the JSON form of the object.

client-go's typed clients send them: Helm's release Secrets, `kubectl create`, Events, Leases, reviews. The envelope is
`k8s\\0` and a `runtime.Unknown`; messages are read by `protobuf_messages`, unknown fields are skipped as protobuf does.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from binderops.node.api.objects.protobuf_messages import Field, message, message_of
from binderops.node.api.objects.status import Object, bad_request, unsupported_media_type

MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 50
_ZERO = ("", 0, False, None)


def decode(body: bytes) -> Object:
    """A body to an object. InvalidError: 400 for what is not protobuf, 415 for a kind that is not recorded."""
    if not body.startswith(MAGIC):
        raise bad_request("the body is not Kubernetes protobuf: it does not begin with k8s\\0")
    try:
        envelope = _message(body[len(MAGIC) :], "Unknown", 0)
        type_meta = envelope.get("typeMeta", {})
        api_version, kind = type_meta.get("apiVersion", ""), type_meta.get("kind", "")
        name = message_of(api_version, kind)
        if name is None:
            raise unsupported_media_type(
                f"{kind or 'an object without kind'} is not read from protobuf by this server; send application/json"
            )
        raw = base64.b64decode(envelope.get("raw", ""))
        return {"apiVersion": api_version, "kind": kind, **_message(raw, name, 0)}
    except (IndexError, KeyError, ValueError, struct.error, OverflowError) as error:
        raise bad_request(f"the body is not Kubernetes protobuf: {error}") from error


def _message(data: bytes, name: str, depth: int) -> Object:
    if depth > _MAX_DEPTH:
        raise ValueError("messages nest too deep")
    fields = message(name)
    result: Object = {}
    for number, wire, value in _wire(data):
        field = fields.get(number)
        if field is None:
            continue
        if field.mapped:
            result.setdefault(field.name, {}).update([_entry(_bytes(wire, value), field, depth)])
        elif field.repeated:
            result.setdefault(field.name, []).extend(_items(field, wire, value, depth))
        elif not field.name:
            result |= _message(_bytes(wire, value), field.form, depth + 1)
        else:
            decoded = _value(field.form, wire, value, depth)
            # Go writes the zero value of what is no pointer, and its JSON omits it.
            if field.pointer or isinstance(decoded, dict | list) or decoded not in _ZERO:
                result[field.name] = decoded
    return result


def _items(field: Field, wire: int, value: Any, depth: int) -> list[Any]:
    if field.form == "int" and wire == _BYTES:
        return [_signed(each) for each in _varints(_bytes(wire, value))]
    return [_value(field.form, wire, value, depth)]


def _entry(data: bytes, field: Field, depth: int) -> tuple[str, Any]:
    key, content = "", None
    for number, wire, part in _wire(data):
        if number == 1:
            key = _bytes(wire, part).decode()
        elif number == 2:
            content = _value(field.form, wire, part, depth)
    empty: Any = [] if field.form == "StringList" else ""
    return key, content if content is not None else empty


def _value(form: str, wire: int, value: Any, depth: int) -> Any:
    match form:
        case "string":
            return _bytes(wire, value).decode()
        case "bytes":
            return base64.b64encode(_bytes(wire, value)).decode()
        case "bool":
            return bool(_number(wire, value))
        case "int":
            return _signed(_number(wire, value))
        case "double":
            return struct.unpack("<d", struct.pack("<Q", value))[0]
    inner = _bytes(wire, value)
    match form:
        case "Time":
            return _time(inner, "%Y-%m-%dT%H:%M:%SZ")
        case "MicroTime":
            return _time(inner, "%Y-%m-%dT%H:%M:%S.%fZ")
        case "Quantity":
            return str(_message(inner, "Quantity", depth + 1).get("string", "0"))
        case "IntOrString":
            parts = _message(inner, "IntOrString", depth + 1)
            return parts.get("strVal", "") if parts.get("type") else parts.get("intVal", 0)
        case "FieldsV1" | "RawExtension":
            raw = base64.b64decode(_message(inner, "Raw", depth + 1).get("raw", ""))
            return json.loads(raw) if raw else None
        case "StringList":
            return _message(inner, "StringList", depth + 1).get("items", [])
    return _message(inner, form, depth + 1)


def _time(data: bytes, form: str) -> str | None:
    parts = _message(data, "Moment", 0)
    if not parts:
        return None
    moment = datetime.fromtimestamp(parts.get("seconds", 0), UTC)
    return moment.replace(microsecond=max(0, parts.get("nanos", 0)) // 1000 % 1_000_000).strftime(form)


def _bytes(wire: int, value: Any) -> bytes:
    if wire != _BYTES or not isinstance(value, bytes):
        raise ValueError("a field has another wire type than its message says")
    return value


def _number(wire: int, value: Any) -> int:
    if wire != _VARINT:
        raise ValueError("a field has another wire type than its message says")
    return int(value)


def _wire(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """The fields of a message in turn: number, wire type, value."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
        elif wire == _BYTES:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("a field ends behind its message")
            yield number, wire, data[at : at + length]
            at += length
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
            yield number, wire, struct.unpack_from("<Q" if size == 8 else "<I", data, at)[0]
            at += size
        else:
            raise ValueError(f"wire type {wire} is not used by Kubernetes")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a number is longer than ten bytes")


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
