"""Bodies: JSON, YAML and protobuf, good, damaged and hostile; and what strict decoding says of fields."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.errors import InvalidError
from binderops.kube.kinds import KINDS, Kind
from binderops.kube.schemas import Schema, schema_of
from binderops.node.api.objects.decoding import APPLY, MAX_BODY, PROTOBUF, decode_body
from binderops.node.api.objects.protobuf import MAGIC, decode
from binderops.node.api.objects.protobuf_messages import message, message_of
from binderops.node.api.objects.strict import check_fields


def test_json_and_yaml_read_alike() -> None:
    value = {"kind": "ConfigMap", "data": {"a": "1", "b": "x\ny"}, "list": [1, True, None]}
    assert decode_body(json.dumps(value).encode()).object == value
    text = b"kind: ConfigMap\ndata:\n  a: '1'\n  b: |-\n    x\n    y\nlist: [1, true, null]\n"
    assert decode_body(text, APPLY).object == value


def test_what_stands_twice_is_told_with_its_path() -> None:
    body = b'{"spec":{"replicas":1,"replicas":2,"list":[{"a":1},{"a":1,"a":2}]},"kind":"x","kind":"x"}'
    decoded = decode_body(body)
    assert decoded.object["spec"]["replicas"] == 2
    assert set(decoded.duplicates) == {"kind", "spec.replicas", "spec.list[1].a"}
    assert set(decode_body(b"spec: {a: 1, a: 2}\n", APPLY).duplicates) == {"spec.a"}


def test_times_in_yaml_stay_text() -> None:
    assert decode_body(b"a: 2024-01-01\nb: 2024-01-01T00:00:00Z\n", APPLY).object["a"] == "2024-01-01"


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(ord("b"), ord("k"))
)


@pytest.mark.parametrize(
    ("body", "media", "code"),
    [
        (b"", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'"text"', "application/json", 400),
        (b'{"a":NaN}', "application/json", 400),
        (b'{"a":', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"{" + b'"a":{' * 5000 + b"}" * 5001, "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"a: [", APPLY, 400),
        (b"a: &x [*x]", APPLY, 400),
        (b"!!python/object/apply:os.system [id]", APPLY, 400),
        (BOMB, APPLY, 413),
        (b" " * (MAX_BODY + 1), "application/json", 413),
        (b"<a/>", "application/xml", 415),
        (b"{}", PROTOBUF, 400),
        (MAGIC + b"\x0a\xff", PROTOBUF, 400),
    ],
)
def test_bad_bodies_are_answered(body: bytes, media: str, code: int) -> None:
    with pytest.raises(InvalidError) as caught:
        decode_body(body, media)
    assert caught.value.code == code
    assert caught.value.status["code"] == code


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def entry(key: str, value: bytes | str) -> bytes:
    return field(1, key) + field(2, value)


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    type_meta = field(1, api_version) + field(2, kind)
    return MAGIC + field(1, type_meta) + field(2, raw) + field(3, "") + field(4, "")


def test_a_helm_release_secret_is_read() -> None:
    metadata = b"".join(
        [field(1, "sh.helm.release.v1.x.v1"), field(3, "ns"), field(8, b""), field(11, entry("owner", "helm"))]
    )
    raw = field(1, metadata) + field(2, entry("release", b"H4sI\x00")) + field(3, "helm.sh/release.v1")
    assert decode(envelope("v1", "Secret", raw)) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "sh.helm.release.v1.x.v1", "namespace": "ns", "labels": {"owner": "helm"}},
        "data": {"release": base64.b64encode(b"H4sI\x00").decode()},
        "type": "helm.sh/release.v1",
    }


def test_times_numbers_and_messages_are_read() -> None:
    time = field(1, 1_700_000_000) + field(2, 5_000_000)
    raw = field(1, field(1, "l")) + field(2, field(1, "me") + field(2, 15) + field(4, time) + field(5, -1))
    assert decode(envelope("coordination.k8s.io/v1", "Lease", raw))["spec"] == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "renewTime": "2023-11-14T22:13:20.005000Z",
        "leaseTransitions": -1,
    }


def test_the_two_events_differ() -> None:
    core = decode(envelope("v1", "Event", field(3, "Pulled") + field(8, 2)))
    other = decode(envelope("events.k8s.io/v1", "Event", field(7, "Pulled") + field(15, 2)))
    assert (core["reason"], core["count"]) == ("Pulled", 2)
    assert (other["reason"], other["deprecatedCount"]) == ("Pulled", 2)


def test_reviews_and_options_are_read() -> None:
    attributes = field(1, "ns") + field(2, "get") + field(5, "pods")
    extra = field(5, field(1, "scopes") + field(2, field(1, "a") + field(1, "b")))
    review = decode(envelope("authorization.k8s.io/v1", "SubjectAccessReview", field(2, field(1, attributes) + extra)))
    assert review["spec"] == {
        "resourceAttributes": {"namespace": "ns", "verb": "get", "resource": "pods"},
        "extra": {"scopes": ["a", "b"]},
    }
    options = decode(envelope("v1", "DeleteOptions", field(1, 0) + field(2, field(1, "uid")) + field(4, "Foreground")))
    assert options["gracePeriodSeconds"] == 0
    assert options["preconditions"] == {"uid": "uid"}


def test_unknown_fields_are_skipped_and_unknown_kinds_refused() -> None:
    raw = field(99, "new") + varint(98 << 3 | 1) + struct.pack("<d", 1.5) + field(3, "Opaque")
    assert decode(envelope("v1", "Secret", raw))["type"] == "Opaque"
    with pytest.raises(InvalidError) as caught:
        decode(envelope("example.org/v1", "Toaster", b""))
    assert caught.value.code == 415


def test_a_deployment_is_read_with_its_pod() -> None:
    """As `kubectl create deployment` sends it: zero values that Go writes and its JSON omits are left out."""
    env = field(1, "A") + field(2, "") + field(3, field(3, field(1, field(1, "cm")) + field(2, "key") + field(3, 0)))
    port = field(1, "") + field(2, 0) + field(3, 80) + field(4, "") + field(5, "")
    probe = field(1, field(2, field(1, "/") + field(2, field(1, 1) + field(2, 0) + field(3, "http")))) + field(2, 0)
    quantity = entry("cpu", field(1, "500m"))
    container = b"".join(
        [field(1, "c"), field(2, "i"), field(6, port), field(7, env), field(8, field(1, quantity)), field(10, probe)]
    )
    volume = field(1, "v") + field(2, field(2, field(1, "")))
    pod_spec = field(1, volume) + field(2, container) + field(4, 0) + field(11, 0)
    spec = (
        field(1, 0) + field(2, field(1, entry("a", "b"))) + field(3, field(1, b"") + field(2, pod_spec)) + field(5, 0)
    )
    decoded = decode(envelope("apps/v1", "Deployment", field(1, field(1, "web")) + field(2, spec) + field(3, b"")))
    assert decoded["spec"] == {
        "replicas": 0,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {},
            "spec": {
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [
                    {
                        "name": "c",
                        "image": "i",
                        "ports": [{"containerPort": 80}],
                        "env": [
                            {
                                "name": "A",
                                "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "key", "optional": False}},
                            }
                        ],
                        "resources": {"limits": {"cpu": "500m"}},
                        "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
                    }
                ],
                "terminationGracePeriodSeconds": 0,
            },
        },
    }


def fields_below(name: str, schema: Schema, seen: set[str]) -> Iterator[tuple[str, str]]:
    """Fields of a message that the recorded OpenAPI type does not have."""
    if name in seen:
        return
    seen.add(name)
    for each in message(name).values():
        if not each.name:
            yield from fields_below(each.form, schema, seen - {each.form})
            continue
        below = schema.field(each.name)
        if below is None:
            yield name, each.name
        elif "." in each.form:
            inner = below.items if each.repeated else below.values if each.mapped else below
            yield from fields_below(each.form, inner, seen)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.kind)
def test_protobuf_and_openapi_know_the_same_fields(kind: Kind) -> None:
    name = message_of(kind.api_version, kind.kind)
    assert name
    assert list(fields_below(name, schema_of(kind.group, kind.version, kind.kind), set())) == []


@given(st.binary(max_size=200), st.sampled_from(["Pod", "Secret", "Event", "DeleteOptions"]))
def test_no_protobuf_crashes(raw: bytes, kind: str) -> None:
    try:
        assert decode(envelope("v1", kind, raw))["kind"] == kind
    except InvalidError as error:
        assert error.code == 400


DEPLOYMENT = schema_of("apps", "v1", "Deployment")


def deployment(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "duplicates", "sentence"),
    [
        ({"foo": 1}, (), 'strict decoding error: unknown field "spec.foo"'),
        (
            {"template": {"spec": {"containers": [{"Image": "x"}]}}},
            (),
            'strict decoding error: unknown field "spec.template.spec.containers[0].Image"',
        ),
        ({"replicas": 1}, ("spec.replicas",), 'strict decoding error: duplicate field "spec.replicas"'),
        (
            {"a": 1, "b": 2},
            (),
            'strict decoding error: unknown field "spec.a", unknown field "spec.b"',
        ),
        (
            {"replicas": "one"},
            (),
            "json: cannot unmarshal string into Go struct field Deployment.spec.replicas of type int32",
        ),
    ],
)
def test_strict_sentences(spec: dict[str, Any], duplicates: Sequence[str], sentence: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check_fields(deployment(**spec), DEPLOYMENT, mode="Strict", duplicates=duplicates)
    prefix = 'Deployment in version "v1" cannot be handled as a Deployment: '
    assert caught.value.status["message"] == prefix + sentence
    assert (caught.value.status["code"], caught.value.status["reason"]) == (400, "BadRequest")


def test_warn_warns_and_ignore_ignores() -> None:
    assert check_fields(deployment(foo=1), DEPLOYMENT, mode="Warn") == ['unknown field "spec.foo"']
    assert check_fields(deployment(foo=1), DEPLOYMENT, mode="Ignore") == []
    with pytest.raises(InvalidError, match="unmarshal"):
        check_fields(deployment(replicas=True), DEPLOYMENT, mode="Ignore")
    with pytest.raises(InvalidError, match="Unsupported value"):
        check_fields(deployment(), DEPLOYMENT, mode="Sometimes")


def test_a_patch_s_strict_error_is_a_422() -> None:
    with pytest.raises(InvalidError) as caught:
        check_fields(deployment(foo=1), DEPLOYMENT, mode="Strict", patched=True)
    assert caught.value.code == 422
    assert 'unknown field "spec.foo"' in str(caught.value.status["message"])
