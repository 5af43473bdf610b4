"""What a request asks for: its path and query as types, in kube-apiserver's terms (RequestInfo)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

from binderops.node.api import refusals
from binderops.node.api.objects.status import bad_request
from binderops.node.api.resources import BY_PATH, Resource

_LONGEST_URL = 64 * 1024
_MOST_PARAMETERS = 256
_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}


class Query:
    """The query string: each parameter's values, and the few types that the API's options have."""

    def __init__(self, raw: bytes) -> None:
        try:
            pairs = parse_qsl(
                raw.decode("ascii"),
                keep_blank_values=True,
                max_num_fields=_MOST_PARAMETERS,
                errors="strict",
            )
        except ValueError as error:
            raise bad_request(f"invalid query: {error}") from None
        self._values: dict[str, list[str]] = {}
        for key, value in pairs:
            self._values.setdefault(key, []).append(value)

    def get(self, key: str, default: str = "") -> str:
        """The first value."""
        return self._values.get(key, [default])[0]

    def all(self, key: str) -> list[str]:
        """Every value."""
        return self._values.get(key, [])

    def flag(self, key: str) -> bool:
        """A boolean as Go's ParseBool reads it; present and empty means true (as `?watch`)."""
        if key not in self._values:
            return False
        return self.get(key).lower() not in {"0", "f", "false"}

    def number(self, key: str) -> int | None:
        """A whole number that is not negative; None when absent or empty. 400 for anything else."""
        found = self.signed(key)
        if found is not None and found < 0:
            raise bad_request(f"invalid value {self.get(key)!r} for parameter {key}")
        return found

    def signed(self, key: str) -> int | None:
        """A whole number as Go's ParseInt reads it into 64 bits; None when absent or empty. 400 for anything else."""
        text = self.get(key)
        if not text:
            return None
        if not _WHOLE.fullmatch(text) or not -(2**63) <= (found := int(text)) < 2**63:
            raise bad_request(f"invalid value {text!r} for parameter {key}")
        return found

    def check(self) -> None:
        """Refuse (400) what no request may say, before anything is done."""
        if any(value != "All" for value in self.all("dryRun")):
            raise bad_request('Invalid value: dryRun: Unsupported value: supported values: "All"')
        self.signed("limit")
        self.number("timeoutSeconds")

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be stored."""
        return bool(self.all("dryRun"))

    def raw(self) -> Mapping[str, list[str]]:
        """Every parameter as it came."""
        return self._values


class Target(NamedTuple):
    """The part of a resource request that its path says."""

    resource: Resource
    namespace: str
    name: str
    subresource: str


class RequestInfo(NamedTuple):
    """Who wants what: as authorization sees it. `target` is None for a path that is no resource."""

    verb: str
    path: str
    target: Target | None


def parse_path(raw_path: bytes) -> tuple[str, list[str]]:
    """Return the path as text and its decoded segments. 400 for what no client of good will sends."""
    if len(raw_path) > _LONGEST_URL:
        raise refusals.refusal(414, "RequestURITooLong", "the request's URL is too long")
    segments = []
    for part in raw_path.split(b"/")[1:]:
        try:
            segment = unquote_to_bytes(part).decode("utf-8")
        except UnicodeDecodeError:
            raise bad_request("the path is not UTF-8") from None
        if segment in {".", ".."} or "/" in segment or "\x00" in segment:
            raise bad_request(f"invalid path segment {segment!r}")
        segments.append(segment)
    while segments and segments[-1] == "":
        segments.pop()
    return "/" + "/".join(segments), segments


def request_info(method: str, raw_path: bytes, query: Query) -> RequestInfo:
    """Read a request's line. NotFound for a resource that is not served; 405 for an unknown method."""
    path, segments = parse_path(raw_path)
    verb = _VERBS.get(method)
    if verb is None:
        raise refusals.method_not_allowed()
    target = _target(segments)
    if target is None:
        return RequestInfo(method.lower(), path, None)
    if not target.name and verb in {"get", "delete"}:
        reading = "watch" if query.flag("watch") else "list"
        verb = "deletecollection" if verb == "delete" else reading
    return RequestInfo(verb, path, target)


def _target(segments: list[str]) -> Target | None:
    match segments:
        case ["api", version, _, *_]:
            group, rest = "", segments[2:]
        case ["apis", group, version, _, *_]:
            rest = segments[3:]
        case _:
            return None
    namespace = ""
    # /namespaces/NAME and its two subresources are the namespace itself, all else below it lies in it.
    if rest[0] == "namespaces" and len(rest) >= 3 and not (len(rest) == 3 and rest[2] in {"status", "finalize"}):
        namespace, rest = rest[1], rest[2:]
        if not namespace:
            raise refusals.no_such_resource()
    resource = BY_PATH.get((group, version, rest[0]))
    if resource is None or len(rest) > 3 or (namespace and not resource.namespaced) or "" in rest:
        raise _unknown(group, rest)
    name, subresource = (*rest[1:], "", "")[:2]
    if resource.namespaced and name and not namespace:
        raise refusals.no_such_resource()
    if subresource and subresource not in resource.subresources:
        message = (
            f"the server could not find the requested resource: the node serves no {resource.plural}/{subresource}"
        )
        raise refusals.refusal(404, "NotFound", message)
    if resource.plural == "namespaces" and name:
        namespace = name
    return Target(resource, namespace, name, subresource)


def _unknown(group: str, rest: list[str]) -> Exception:
    if rest and rest[0] == "customresourcedefinitions" and group == "apiextensions.k8s.io":
        message = "the node serves no CustomResourceDefinitions: use a Kubernetes cluster for charts that bring them"
        return refusals.refusal(404, "NotFound", message)
    return refusals.no_such_resource()
