"""Names, labels and annotations: the syntax rules of apimachinery's validation, and `metadata` as a whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from binderops.node.api.objects.status import Object
from binderops.node.api.objects.validation.fields import Causes, forbidden, invalid, items, required, too_long

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_QUALIFIED})?"
_ANNOTATIONS = 256 * 1024
_PATH_SEGMENT_KINDS = frozenset({"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"})

_LABEL_SENTENCE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_LABEL_1035_SENTENCE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    f"'{_LABEL_1035}')"
)
_SUBDOMAIN_SENTENCE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_QUALIFIED_SENTENCE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    f"'{_QUALIFIED}')"
)
_VALUE_SENTENCE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_VALUE}')"
)


def dns_label(path: str, value: Any) -> Causes:
    """RFC 1123 label."""
    yield from _matching(path, value, _LABEL, 63, _LABEL_SENTENCE)


def dns_1035_label(path: str, value: Any) -> Causes:
    """RFC 1035 label: begins with a letter."""
    yield from _matching(path, value, _LABEL_1035, 63, _LABEL_1035_SENTENCE)


def dns_subdomain(path: str, value: Any) -> Causes:
    """RFC 1123 subdomain."""
    yield from _matching(path, value, _SUBDOMAIN, 253, _SUBDOMAIN_SENTENCE)


def qualified_name(path: str, value: str) -> Causes:
    """`NAME` or `PREFIX/NAME`: label keys, annotation keys, finalizers."""
    prefix, slash, name = value.rpartition("/")
    if slash and not prefix:
        yield invalid(path, value, "prefix part must be non-empty")
    elif slash and ("/" in prefix or not re.fullmatch(_SUBDOMAIN, prefix) or len(prefix) > 253):
        yield invalid(path, value, f"prefix part {_SUBDOMAIN_SENTENCE}")
    if not name:
        yield invalid(path, value, "name part must be non-empty")
    elif len(name) > 63:
        yield invalid(path, value, "name part must be no more than 63 bytes")
    if not re.fullmatch(_QUALIFIED, name):
        yield invalid(path, value, _QUALIFIED_SENTENCE)


def port_name(path: str, value: str) -> Causes:
    """IANA service name: 15 characters, with a letter."""
    if len(value) > 15:
        yield invalid(path, value, "must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]+", value):
        yield invalid(path, value, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        yield invalid(path, value, "must contain at least one letter (a-z)")
    if "--" in value:
        yield invalid(path, value, "must not contain consecutive hyphens")
    if value[:1] == "-" or value[-1:] == "-":
        yield invalid(path, value, "must not begin or end with a hyphen")


def labels(path: str, value: Any) -> Causes:
    """Keys and values of labels."""
    for key, content in (value or {}).items():
        yield from qualified_name(path, key)
        yield from label_value(path, content)


def label_value(path: str, value: Any) -> Causes:
    """A label's value."""
    yield from _matching(path, value, _VALUE, 63, _VALUE_SENTENCE)


def annotation_keys(path: str, value: Any) -> Causes:
    """Keys of annotations, and their size together."""
    for key in value or {}:
        yield from qualified_name(path, key.lower())
    size = sum(len(key.encode()) + len(str(content).encode()) for key, content in (value or {}).items())
    if size > _ANNOTATIONS:
        yield too_long(path, _ANNOTATIONS)


def object_name(kind: str, path: str, value: str) -> Causes:
    """A name by its kind's rule."""
    if kind in _PATH_SEGMENT_KINDS:
        if value in (".", ".."):
            yield invalid(path, value, f"may not be '{value}'")
        for part in "/%":
            if part in value:
                yield invalid(path, value, f"may not contain '{part}'")
    elif kind == "Service":
        yield from dns_1035_label(path, value)
    elif kind == "Namespace":
        yield from dns_label(path, value)
    else:
        yield from dns_subdomain(path, value)
    if kind == "CronJob" and len(value) > 52:
        yield invalid(path, value, "must be no more than 52 characters")


def metadata(obj: Object) -> Causes:
    """`metadata` of any object."""
    content: Mapping[str, Any] = obj.get("metadata") or {}
    if not content.get("name"):
        yield required("metadata.name", "name or generateName is required")
    else:
        yield from object_name(str(obj.get("kind")), "metadata.name", str(content["name"]))
    yield from labels("metadata.labels", content.get("labels"))
    yield from annotation_keys("metadata.annotations", content.get("annotations"))
    for index, finalizer in enumerate(content.get("finalizers") or []):
        yield from qualified_name(f"metadata.finalizers[{index}]", str(finalizer))
    yield from _owners(content.get("ownerReferences"))


def _owners(references: Any) -> Causes:
    controllers = []
    for path, owner in items(references, "metadata.ownerReferences"):
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                yield invalid(f"{path}.{key}", owner.get(key, ""), "must not be empty")
        if owner.get("controller"):
            controllers.append(owner)
    if len(controllers) > 1:
        names = " and ".join(str(each.get("kind")) for each in controllers[:2])
        yield invalid(
            "metadata.ownerReferences",
            references,
            f'Only one reference can have Controller set to true. Found "true" in references for {names}',
        )


def new_finalizers(obj: Object, old: Object) -> Causes:
    """No finalizer is added to an object that is being deleted."""
    if not (old.get("metadata") or {}).get("deletionTimestamp"):
        return
    before = set((old.get("metadata") or {}).get("finalizers") or [])
    added = [each for each in (obj.get("metadata") or {}).get("finalizers") or [] if each not in before]
    if added:
        yield forbidden(
            "metadata.finalizers",
            f"no new finalizers can be added if the object is being deleted, found new finalizers {', '.join(added)}",
        )


def _matching(path: str, value: Any, pattern: str, longest: int, sentence: str) -> Causes:
    text = str(value)
    if len(text) > longest:
        yield invalid(path, value, f"must be no more than {longest} bytes")
    if not re.fullmatch(pattern, text):
        yield invalid(path, value, sentence)
