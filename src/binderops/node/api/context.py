"""What every handler is given: the parts of the API, and the one request that it is to answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from binderops.kube.schemas import Schema, definition, schema_of
from binderops.node.api import refusals
from binderops.node.api.authentication import User
from binderops.node.api.authorization import Authorizer
from binderops.node.api.http import Accepted, Request
from binderops.node.api.objects import decoding, strict
from binderops.node.api.objects.status import bad_request
from binderops.node.api.requests import Query, Target
from binderops.node.api.resources import BY_PATH, Resource
from binderops.node.api.tokens import TokenAuthority
from binderops.node.api.views import View, as_stored
from binderops.node.config import NodeConfig
from binderops.node.store import Record, Store

Object = dict[str, Any]
_LONGEST_MANAGER = 128


@dataclass(frozen=True)
class Api:
    """The parts of one node's API."""

    config: NodeConfig
    store: Store
    authorizer: Authorizer
    tokens: TokenAuthority

    def latest(self, resource: Resource, namespace: str, name: str) -> Record:
        """The object as the next write finds it. 404 when there is none."""
        record = self.store.latest(resource.stored_as, namespace, name)
        if record is None:
            raise refusals.not_found(resource, name)
        return record


class Call:
    """One authenticated, authorized request to a resource."""

    def __init__(self, request: Request, user: User, target: Target, *, verb: str = "") -> None:
        self.request = request
        self.user = user
        self.verb = verb
        self.resource = target.resource
        # The namespace of a Namespace is its own name for authorization only.
        self.namespace = target.namespace if target.resource.namespaced else ""
        self.name = target.name
        self.subresource = target.subresource
        self.now = datetime.now(UTC)

    @property
    def query(self) -> Query:
        """The request's parameters."""
        return self.request.query

    @property
    def view(self) -> View:
        """How the client wants objects."""
        return View(self.resource, Accepted(self.request.header("accept")), include=self.query.get("includeObject"))

    @property
    def schema(self) -> Schema:
        """The schema under which objects are stored."""
        stored = self.stored_resource
        return schema_of(stored.group, stored.version, stored.kind)

    @property
    def stored_resource(self) -> Resource:
        """The resource under which objects are stored: core events for those of events.k8s.io."""
        return BY_PATH[("", "v1", "events")] if self.resource.plural == "events" else self.resource

    @property
    def manager(self) -> str:
        """The field manager: as the client names it, else its program's name. 400 for one that is too long."""
        given = self.query.get("fieldManager")
        if len(given) > _LONGEST_MANAGER or not given.isprintable():
            raise bad_request("fieldManager: Invalid value: it must be printable and at most 128 characters")
        return given or self.request.user_agent.partition("/")[0][:_LONGEST_MANAGER] or "unknown"

    @property
    def field_validation(self) -> str:
        """What is to happen with unknown fields: Strict, Warn or Ignore."""
        return self.query.get("fieldValidation") or "Warn"

    def warn(self, warnings: list[str]) -> None:
        """Send warnings along with the answer."""
        self.request.warnings.extend(warnings)

    async def read_object(self, *, kind: Resource | None = None) -> Object:
        """Read the body as an object of this resource (or of another kind, for a subresource's own), as it is stored.

        Raises 400, 413, 415; unknown fields as `fieldValidation` says.
        """
        resource = kind or self.resource
        decoded = decoding.decode_body(await self.request.body(), self.request.header("content-type") or decoding.JSON)
        obj = decoded.object
        check_kind(obj, resource)
        self.warn(
            strict.check_fields(obj, body_schema(resource), mode=self.field_validation, duplicates=decoded.duplicates)
        )
        if not isinstance(obj.get("metadata", {}), dict):
            raise bad_request("metadata is not an object")
        obj.setdefault("metadata", {})
        return as_stored(resource, obj)

    def check_names(self, obj: Object) -> None:
        """Hold the object's name and namespace against the path's, and fill in what it leaves out."""
        metadata = obj["metadata"]
        if self.name:
            name = metadata.setdefault("name", self.name)
            if name != self.name:
                raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({self.name})")
        if not self.resource.namespaced:
            if metadata.get("namespace"):
                raise bad_request("namespace may not be set on an object that lies in none")
            metadata.pop("namespace", None)
            return
        if (metadata.get("namespace") or self.namespace) != self.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        metadata["namespace"] = self.namespace


# Kinds that only subresources speak: the recording has them under the group of the resource, not under their own.
_BODIES = {
    "Binding": "io.k8s.api.core.v1.Binding",
    "Eviction": "io.k8s.api.policy.v1.Eviction",
    "Scale": "io.k8s.api.autoscaling.v1.Scale",
    "TokenRequest": "io.k8s.api.authentication.v1.TokenRequest",
}


def body_schema(resource: Resource) -> Schema:
    """The schema of what a client sends to a resource, or to a subresource of a kind of its own."""
    name = _BODIES.get(resource.kind)
    return definition(name) if name else schema_of(resource.group, resource.version, resource.kind)


def check_kind(obj: Object, resource: Resource) -> None:
    """Refuse an object of another kind than the path's; one that names none is taken for it."""
    api_version = obj.setdefault("apiVersion", resource.api_version)
    kind = obj.setdefault("kind", resource.kind)
    if kind != resource.kind:
        message = f'{kind} in version "{api_version}" cannot be handled as a {resource.kind}: no kind match'
        raise bad_request(message)
    if api_version != resource.api_version:
        message = f"the API version in the data ({api_version}) does not match the expected API version "
        raise bad_request(f"{message}({resource.api_version})")
