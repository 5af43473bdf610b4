"""What Ingresses ask for, as one picture: hosts, paths, backends, and the complaints about what cannot be.

Pure functions over objects as the API gives them. Rules: networking.k8s.io/v1 (Exact, Prefix element by element,
longest first, Exact before Prefix; a wildcard host is one label), and for conflicts the oldest Ingress wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from binderops.ingress.annotations import DEFAULT_OPTIONS, Options, parse_annotations
from binderops.ingress.backends import Backend, BackendTable
from binderops.kube.objects import annotations_of, key_of, metadata_of, spec_of

Object = Mapping[str, Any]
Key = tuple[str, str]

CONTROLLER = "binderops.dev/nginx-ingress"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
DEFAULT_CLASS_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"

_HOST = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")
# RFC 3986 pchar and "/", without what nginx or a reader could take for more than a path: quotes, braces, semicolons.
_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&()*+,=:@%/]*")
_LONGEST_HOST, _LONGEST_PATH = 253, 1024


@dataclass(frozen=True)
class Complaint:
    """Something of an Ingress that is not honoured; told as an Event."""

    ingress: Key
    reason: str
    message: str


@dataclass(frozen=True)
class Location:
    """One path of a host. `exact` matches the whole path; else the path and what lies below it."""

    path: str
    exact: bool
    backend: Backend
    options: Options
    ingress: Key


@dataclass
class Host:
    """One server name ("" is any host that no other matches) and its locations by (path, exact)."""

    name: str
    locations: dict[tuple[str, bool], Location] = field(default_factory=dict)


@dataclass
class Routing:
    """Everything that nginx is told."""

    hosts: dict[str, Host]
    default_backend: Backend | None
    complaints: list[Complaint]
    handled: list[Key]


def is_ours(ingress: Object, *, class_name: str, classes: Iterable[Object]) -> bool:
    """Whether this controller serves the Ingress: by class, by the old annotation, or as the only default there is."""
    named = spec_of(ingress).get("ingressClassName")
    if named is not None:
        return bool(named == class_name)
    annotated = annotations_of(ingress).get(CLASS_ANNOTATION)
    if annotated is not None:
        return annotated == class_name
    defaults = [found for found in classes if annotations_of(found).get(DEFAULT_CLASS_ANNOTATION) == "true"]
    # Without any default class, an Ingress that names none is served: so did every nginx controller before v1.
    return not defaults or any(spec_of(found).get("controller") == CONTROLLER for found in defaults)


def ours(ingresses: Iterable[Object], *, class_name: str, classes: Iterable[Object] = ()) -> list[Object]:
    """The Ingresses that this controller serves, oldest first, so that the oldest wins a conflict."""
    known = list(classes)
    found = [
        ingress
        for ingress in ingresses
        if is_ours(ingress, class_name=class_name, classes=known) and not metadata_of(ingress).get("deletionTimestamp")
    ]
    return sorted(found, key=lambda ingress: (metadata_of(ingress).get("creationTimestamp") or "", key_of(ingress)))


def build_routing(
    ingresses: Iterable[Object],
    backends: BackendTable,
    *,
    class_name: str,
    classes: Iterable[Object] = (),
    defaults: Options = DEFAULT_OPTIONS,
) -> Routing:
    """The picture of all Ingresses that are ours; `defaults` are what an Ingress has without annotations."""
    routing = Routing(hosts={}, default_backend=None, complaints=[], handled=[])
    for ingress in ours(ingresses, class_name=class_name, classes=classes):
        _add(routing, ingress, backends, defaults)
    return routing


def _add(routing: Routing, ingress: Object, backends: BackendTable, defaults: Options) -> None:
    key, spec = key_of(ingress), spec_of(ingress)
    routing.handled.append(key)
    options, refusals = parse_annotations(annotations_of(ingress), defaults)
    for refusal in refusals:
        routing.complaints.append(
            Complaint(key, "UnsupportedAnnotation", f"{refusal.annotation} is not honoured: {refusal.why}")
        )
    default = spec.get("defaultBackend")
    if default:
        _add_default(routing, ingress, default, backends)
    for rule in spec.get("rules") or []:
        host = _host(routing, key, rule.get("host"))
        if host is None:
            continue
        paths = (rule.get("http") or {}).get("paths")
        if paths is None and default:
            paths = [{"path": "/", "pathType": "Prefix", "backend": default}]
        for path in paths or []:
            _add_path(routing, host, key, path, options, backends)
        if default and ("/", False) not in host.locations:
            backend = backends.find(key[0], default)
            host.locations["/", False] = Location("/", False, backend, options, key)


def _add_default(routing: Routing, ingress: Object, default: Object, backends: BackendTable) -> None:
    key = key_of(ingress)
    backend = backends.find(key[0], default)
    if backend.problem:
        routing.complaints.append(Complaint(key, "BackendNotFound", backend.problem))
    if spec_of(ingress).get("rules"):
        return  # it serves the paths of this Ingress's own hosts
    if routing.default_backend is None:
        routing.default_backend = backend
    else:
        routing.complaints.append(
            Complaint(key, "Conflict", "another, older Ingress has a default backend without rules already")
        )


def is_host(name: str) -> bool:
    """Whether this is a host name in lower case, perhaps with a wildcard as its first label."""
    return len(name) <= _LONGEST_HOST and _HOST.fullmatch(name) is not None


def _host(routing: Routing, key: Key, name: str | None) -> Host | None:
    lowered = (name or "").lower()
    if lowered and not is_host(lowered):
        routing.complaints.append(Complaint(key, "InvalidHost", f"{name!r} is not a host name"))
        return None
    return routing.hosts.setdefault(lowered, Host(lowered))


def _add_path(routing: Routing, host: Host, key: Key, path: Object, options: Options, backends: BackendTable) -> None:
    text, kind = str(path.get("path") or "/"), path.get("pathType", "ImplementationSpecific")
    problem = _path_problem(text)
    if problem:
        routing.complaints.append(Complaint(key, "InvalidPath", f"{text!r}: {problem}"))
        return
    exact = kind == "Exact"
    if not exact and text != "/":
        text = text.rstrip("/") or "/"
    backend = backends.find(key[0], path.get("backend") or {})
    if backend.problem:
        routing.complaints.append(Complaint(key, "BackendNotFound", backend.problem))
    present = host.locations.get((text, exact))
    if present is not None:
        if present.ingress != key or present.backend != backend:
            said = f"{host.name or '*'}{text} is served by {'/'.join(present.ingress)} already"
            routing.complaints.append(Complaint(key, "Conflict", said))
        return
    host.locations[text, exact] = Location(text, exact, backend, options, key)


def _path_problem(text: str) -> str | None:
    if len(text) > _LONGEST_PATH:
        return "the path is too long"
    if not text.startswith("/"):
        return "a path begins with /"
    if not _PATH.fullmatch(text):
        return "the path holds what is not allowed (regular expressions, quotes and spaces are not supported)"
    if any(part in {".", ".."} for part in text.split("/")):
        return "the path holds . or .. as an element"
    return None


def default_classes(classes: Iterable[Object]) -> list[str]:
    """The names of the classes that are marked as default; more than one is the operator's mistake."""
    return sorted(
        str(metadata_of(found)["name"])
        for found in classes
        if annotations_of(found).get(DEFAULT_CLASS_ANNOTATION) == "true"
    )


__all__ = [
    "DEFAULT_OPTIONS",
    "Complaint",
    "Host",
    "Location",
    "Routing",
    "build_routing",
    "default_classes",
    "is_host",
    "is_ours",
    "ours",
]
