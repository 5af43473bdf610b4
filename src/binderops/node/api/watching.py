"""Watch: what happens to the selected objects from a resource version on, one JSON line an event."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

import orjson

from binderops.errors import KubernetesError
from binderops.node.api import refusals
from binderops.node.api.context import Api, Call
from binderops.node.api.http import JSON, Answer, Stream
from binderops.node.api.objects.status import Cause, bad_request, unprocessable
from binderops.node.api.resources import Resource
from binderops.node.api.selection import Selection
from binderops.node.api.views import View
from binderops.node.store import ExpiredVersionError, Record, Store, Watcher

Object = dict[str, Any]
_BOOKMARK_EVERY = 60.0  # seconds; kube-apiserver's own
_SHORTEST, _LONGEST = 1800, 3600  # seconds that a watch lasts unless its client says
_WATCH_JSON = f"{JSON};stream=watch"


async def watch_objects(api: Api, call: Call) -> Answer | Stream:
    """Start a watch. An expired version is told by an event, as kube-apiserver does."""
    selection = Selection(call.resource, call.namespace, call.query)
    if call.name:
        raise refusals.method_not_allowed()
    since, initial = _start(call, api.store)
    matches = selection.matcher()
    seconds = call.query.number("timeoutSeconds") or random.uniform(_SHORTEST, _LONGEST)  # noqa: S311 - no secret
    try:
        watcher = api.store.watch(call.resource.stored_as, matches, since=since)
    except ExpiredVersionError as error:
        return Stream(_refused(refusals.expired(str(error))), media_type=_WATCH_JSON)
    records = [r for r in api.store.records(call.resource.stored_as, call.namespace or None) if matches(r)]
    lines = _Lines(call.resource, call.view)
    events = _events(
        api.store,
        watcher,
        lines,
        initial=records if initial else [],
        seconds=float(seconds),
        bookmarks=call.query.flag("allowWatchBookmarks"),
        mark_initial=call.query.flag("sendInitialEvents"),
    )
    return Stream(events, media_type=_WATCH_JSON, cut=watcher.closed, closed=watcher.close)


def _start(call: Call, store: Store) -> tuple[int, bool]:
    """The version to watch from, and whether the present objects come first."""
    query = call.query
    text, match = query.get("resourceVersion"), query.get("resourceVersionMatch")
    if not (text == "" or (text.isascii() and text.isdigit() and len(text) < 19)):
        raise bad_request(f'Invalid value: "{text}": resourceVersion: it is not a whole number')
    wants_initial = "sendInitialEvents" in query.raw()
    if wants_initial and match != "NotOlderThan":
        raise _invalid("resourceVersionMatch", "Forbidden: sendInitialEvents requires setting it to NotOlderThan")
    if match and not wants_initial:
        raise _invalid("resourceVersionMatch", "Forbidden: it is forbidden for watch unless sendInitialEvents is set")
    asked = int(text or 0)
    if asked > store.version:
        raise refusals.version_too_large(asked, store.version)
    if wants_initial:
        initial = query.flag("sendInitialEvents")
        return (store.version, True) if initial else (asked or store.version, False)
    return (asked, False) if asked else (store.version, True)


class _Lines:
    """Events as lines."""

    def __init__(self, resource: Resource, view: View) -> None:
        self._resource = resource
        self._view = view

    def event(self, kind: str, record: Record) -> bytes:
        return b'{"type":"' + kind.encode() + b'","object":' + self._view.one(record) + b"}\n"

    def bookmark(self, version: int, *, initial_end: bool = False) -> bytes:
        metadata: Object = {"resourceVersion": str(version), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        resource = self._resource
        obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return b'{"type":"BOOKMARK","object":' + self._view.of_object(obj) + b"}\n"


async def _events(
    store: Store,
    watcher: Watcher,
    lines: _Lines,
    *,
    initial: Iterable[Record],
    seconds: float,
    bookmarks: bool,
    mark_initial: bool,
) -> AsyncGenerator[bytes]:
    left = _countdown(seconds)
    try:
        if first := b"".join(lines.event("ADDED", record) for record in initial):
            yield first
        if mark_initial and bookmarks:
            yield lines.bookmark(store.version, initial_end=True)
        while (remaining := left()) > 0:
            events = await watcher.wait(min(remaining, _BOOKMARK_EVERY))
            if watcher.closed.is_set():
                return
            if events:
                yield b"".join(lines.event(event.type, event.record) for event in events)
            elif bookmarks:
                yield lines.bookmark(store.version)
    finally:
        watcher.close()


async def _refused(error: KubernetesError) -> AsyncGenerator[bytes]:
    yield b'{"type":"ERROR","object":' + orjson.dumps(error.status) + b"}\n"


def _countdown(seconds: float) -> Callable[[], float]:
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()


def _invalid(field: str, message: str) -> Exception:
    cause = Cause("FieldValueForbidden", field, message)
    details = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": [cause.as_json()]}
    return unprocessable(f'ListOptions.meta.k8s.io "" is invalid: {field}: {message}', details=details)
