"""The client of the Kubernetes API: objects in and out as plain dicts, errors as `errors.KubernetesError`s.

Every request has a deadline; a watch's is a little more than the time after which the API ends it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypedDict

import httpx2
import msgspec
from lightkube.config.kubeconfig import SingleConfig

from binderops.errors import KubernetesError
from binderops.kube import connection
from binderops.kube.kinds import POD, Kind, Object, kind_of
from binderops.kube.objects import metadata_of, name_of, namespace_of

DEADLINE_SECONDS = 30.0
_JSON = "application/json"
PAGE_SIZE = 500
WATCH_SECONDS = (240, 420)  # the API ends a watch after this long; spread, so that watches do not end together
WATCH_GRACE_SECONDS = 15.0

_PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
PatchHow = Literal["merge", "strategic", "json"]
Propagation = Literal["Background", "Foreground", "Orphan"]


class _Event(TypedDict):
    type: str
    object: Object


_WATCH_EVENTS = msgspec.json.Decoder(_Event)


class ObjectList(NamedTuple):
    """What a list gave, and the resource version from which a watch continues it."""

    items: list[Object]
    resource_version: str


class WatchEvent(NamedTuple):
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK (whose object carries only a resource version)."""

    type: str
    object: Object


class Client:
    """One session with one Kubernetes API; `async with Client.from_kubeconfig(path) as client`."""

    def __init__(self, config: SingleConfig, *, field_manager: str = "binderops") -> None:
        self._session = connection.open_session(config)
        self._field_manager = field_manager
        self.namespace = config.namespace
        """The namespace of the kubeconfig's context, or of the pod."""
        self.certificate_authority = connection.certificate_authority(config)
        """The PEM text of the CA that signs the API's certificate, "" if the configuration names none."""

    @classmethod
    def from_kubeconfig(
        cls, source: Path | Mapping[str, Any], *, context: str | None = None, field_manager: str = "binderops"
    ) -> Self:
        """A client for a kubeconfig, a file or its content: certificates as data or files, or a token."""
        return cls(connection.load_kubeconfig(source, context), field_manager=field_manager)

    @classmethod
    def in_cluster(cls, *, field_manager: str = "binderops") -> Self:
        """A client with the service account that is mounted into this pod."""
        return cls(connection.load_service_account(), field_manager=field_manager)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; watches end with an error."""
        await self._session.aclose()

    # --- reading ------------------------------------------------------------------------------------------------------

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        """One object. NotFoundError if there is none."""
        return await self.request("GET", kind.path(_required(kind, namespace), name))

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        metadata_only: bool = False,
    ) -> ObjectList:
        """All objects of a kind, in one namespace or (None) in all; `labels` and `fields` are selectors as text.

        With `metadata_only` the API sends nothing else of them.
        """
        parameters: dict[str, Any] = {"labelSelector": labels, "fieldSelector": fields, "limit": PAGE_SIZE}
        items: list[Object] = []
        while True:
            accept = _accepted("PartialObjectMetadataList" if metadata_only else None)
            page = await self.request("GET", kind.path(namespace), params=parameters, accept=accept)
            items += page.get("items") or []
            parameters["continue"] = metadata_of(page).get("continue")
            if not parameters["continue"]:
                break
        for item in items:  # a list's items carry neither, and metadata alone another kind
            item.update(apiVersion=kind.api_version, kind=kind.kind)
        return ObjectList(items, str(metadata_of(page).get("resourceVersion") or ""))

    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        resource_version: str | None = None,
        metadata_only: bool = False,
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `resource_version` (None: what there is, then changes), until the API ends the watch.

        Raises GoneError when the resource version is too old to continue from: list again. Who leaves the loop early
        closes the connection by `contextlib.aclosing`.
        """
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311
        parameters = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": seconds,
            "resourceVersion": resource_version,
            "labelSelector": labels,
            "fieldSelector": fields,
        }
        where = f"watch {kind.path(namespace)}"
        accept = _accepted("PartialObjectMetadata" if metadata_only else None)
        quiet = seconds + WATCH_GRACE_SECONDS
        async with self._stream(kind.path(namespace), parameters, where, quiet, accept=accept) as chunks:
            async for line in _lines(chunks):
                event = _watch_event(line, where)
                if event.type == "ERROR":
                    connection.raise_status(event.object, code=500, where=where)
                if metadata_only:
                    event.object.update(apiVersion=kind.api_version, kind=kind.kind)
                yield event

    async def logs(
        self,
        name: str,
        namespace: str,
        *,
        container: str | None = None,
        follow: bool = False,
        tail: int | None = None,
        previous: bool = False,
    ) -> AsyncIterator[bytes]:
        """A container's log, in chunks as they come; with `follow` until the container ends or the caller leaves."""
        parameters = {
            "container": container,
            "follow": "true" if follow else None,
            "tailLines": tail,
            "previous": "true" if previous else None,
        }
        path = POD.path(namespace, name, "log")
        # A container may be silent for hours, so following has no deadline but the caller's.
        quiet = None if follow else DEADLINE_SECONDS
        async with self._stream(path, parameters, f"logs {namespace}/{name}", quiet) as chunks:
            async for chunk in chunks:
                yield chunk

    # --- writing ------------------------------------------------------------------------------------------------------

    async def create(self, obj: Mapping[str, Any]) -> Object:
        """Create an object in its own namespace. AlreadyExistsError if its name is taken."""
        kind = kind_of(obj)
        return await self._write("POST", kind.path(_required(kind, namespace_of(obj))), obj)

    async def replace(self, obj: Mapping[str, Any]) -> Object:
        """Replace an object. ConflictError if it carries a resource version that is not the current one."""
        return await self._write("PUT", _path_of(obj), obj)

    async def replace_status(self, obj: Mapping[str, Any]) -> Object:
        """Replace an object's status alone. ConflictError as in `replace`."""
        return await self._write("PUT", _path_of(obj, "status"), obj)

    async def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        body: Any,
        *,
        how: PatchHow = "merge",
        subresource: str | None = None,
    ) -> Object:
        """Patch an object by a merge patch, a strategic merge patch, or a JSON patch (a list)."""
        path = kind.path(_required(kind, namespace), name, subresource)
        return await self._write("PATCH", path, body, content_type=_PATCH_TYPES[how])

    async def apply(self, obj: Mapping[str, Any], *, force: bool = False, subresource: str | None = None) -> Object:
        """Server-side apply as this client's field manager. ConflictError names the fields that others own."""
        parameters = {"force": "true" if force else "false"}
        return await self._write(
            "PATCH", _path_of(obj, subresource), obj, content_type=_PATCH_TYPES["apply"], params=parameters
        )

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str | None = None,
        *,
        grace_seconds: int | None = None,
        propagation: Propagation | None = None,
        uid: str | None = None,
    ) -> Object:
        """Delete an object (with `uid`: only that very one). NotFoundError if it is gone, ConflictError if replaced."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if propagation is not None:
            options["propagationPolicy"] = propagation
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        return await self.request("DELETE", kind.path(_required(kind, namespace), name), json=options)

    # --- any request --------------------------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        deadline: float = DEADLINE_SECONDS,
    ) -> Object:
        """One request whose answer is a JSON object (`{}` for an empty one); parameters that are None are left out.

        Raises the KubernetesError that the answer's Status stands for; with reason `Unreachable` or `Timeout` (after
        `deadline` seconds in all) when there was no answer.
        """
        where = f"{method} {path}"
        headers = {"Accept": accept}
        if json is not None:
            headers["Content-Type"] = content_type
        request = self._session.build_request(
            method,
            path,
            params=_present(params),
            content=None if json is None else msgspec.json.encode(json),
            headers=headers,
            timeout=httpx2.Timeout(deadline, connect=min(deadline, connection.CONNECT_SECONDS)),
        )
        try:
            async with asyncio.timeout(deadline):
                response = await self._send(request)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise connection.late(deadline, where=where) from error
        except httpx2.HTTPError as error:
            raise connection.unreachable(error, where=where) from error
        if not response.is_success:
            connection.raise_answer(response.status_code, response.content, where=where)
        if not response.content:
            return {}
        try:
            answer = msgspec.json.decode(response.content)
        except msgspec.DecodeError as error:
            raise KubernetesError("the API's answer is not JSON", where=where, why=str(error)) from error
        return answer if isinstance(answer, dict) else {"value": answer}

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        """Send; what only reads is sent once more when the API closed an idle connection at that very moment."""
        try:
            return await self._session.send(request)
        except httpx2.RemoteProtocolError:
            if request.method != "GET":
                raise
            return await self._session.send(request)

    async def _write(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        content_type: str = _JSON,
        params: Mapping[str, Any] | None = None,
    ) -> Object:
        parameters = {"fieldManager": self._field_manager, **(params or {})}
        return await self.request(method, path, params=parameters, json=body, content_type=content_type)

    @asynccontextmanager
    async def _stream(
        self,
        path: str,
        parameters: Mapping[str, Any],
        where: str,
        quiet_seconds: float | None,
        *,
        accept: str = "*/*",
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of a GET as it comes; broken off after `quiet_seconds` without a byte."""
        request = self._session.build_request(
            "GET",
            path,
            params=_present(parameters),
            headers={"Accept": accept},
            timeout=httpx2.Timeout(connection.CONNECT_SECONDS, read=quiet_seconds),
        )
        try:
            response = await self._session.send(request, stream=True)
            try:
                if not response.is_success:
                    connection.raise_answer(response.status_code, await response.aread(), where=where)
                yield response.aiter_bytes()
            finally:
                await response.aclose()
        except httpx2.TimeoutException as error:
            raise connection.late(quiet_seconds or connection.CONNECT_SECONDS, where=where) from error
        except httpx2.HTTPError as error:
            raise connection.unreachable(error, where=where) from error


def _required(kind: Kind, namespace: str | None) -> str | None:
    if kind.namespaced and not namespace:
        raise ValueError(f"a {kind.kind} needs a namespace")
    return namespace


def _accepted(view: str | None) -> str:
    """What to accept; source: https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations."""
    return f"{_JSON};as={view};g=meta.k8s.io;v=v1" if view else _JSON


def _path_of(obj: Mapping[str, Any], subresource: str | None = None) -> str:
    kind = kind_of(obj)
    return kind.path(_required(kind, namespace_of(obj)), name_of(obj), subresource)


def _present(parameters: Mapping[str, Any] | None) -> dict[str, str]:
    return {key: str(value) for key, value in (parameters or {}).items() if value is not None}


def _watch_event(line: bytes, where: str) -> WatchEvent:
    try:
        event = _WATCH_EVENTS.decode(line)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise KubernetesError("the API sent what is no watch event", where=where, why=str(error)) from error
    return WatchEvent(event["type"], event["object"])


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines of a stream; a last one that is not ended is not a whole event, and is dropped."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
