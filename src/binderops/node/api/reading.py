"""Get and list."""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

import orjson

from binderops.node.api import refusals
from binderops.node.api.context import Api, Call
from binderops.node.api.http import Answer
from binderops.node.api.objects.status import Cause, bad_request, unprocessable
from binderops.node.api.requests import Query
from binderops.node.api.selection import Selection
from binderops.node.store import Store

Object = dict[str, Any]
_MATCHES = {"Exact", "NotOlderThan"}


async def get_object(api: Api, call: Call) -> Answer:
    """One object (also by its status subresource)."""
    asked = _version(call.query)
    if asked > api.store.version:
        raise refusals.version_too_large(asked, api.store.version)
    record = api.store.get(call.resource.stored_as, call.namespace, call.name)
    if record is None:
        raise refusals.not_found(call.resource, call.name)
    return Answer(call.view.one(record))


async def list_objects(api: Api, call: Call) -> Answer:
    """A list, whole or in pages.

    A page comes out of the present, under the version of the first one: a watch from there on repeats what changed
    between the pages. When the history does not reach back that far any more, the token is refused as expired.
    """
    selection = Selection(call.resource, call.namespace, call.query)
    page = _Page.of(call.query)
    _check_version(call.query, api.store, page)
    version = page.version or api.store.version
    if page.version and page.version < api.store.oldest_version(call.resource.stored_as):
        raise refusals.expired("The provided continue parameter is too old to display a consistent list result.")
    matches = selection.matcher()
    records = [r for r in api.store.records(call.resource.stored_as, call.namespace or None) if matches(r)]
    if page.start:
        records = [record for record in records if (record.namespace, record.name) > page.start]
    metadata: Object = {"resourceVersion": str(version)}
    if page.limit and len(records) > page.limit:
        last = records[page.limit - 1]
        metadata["continue"] = _token(version, last.namespace, last.name)
        if selection.is_everything:
            metadata["remainingItemCount"] = len(records) - page.limit
        records = records[: page.limit]
    return Answer(call.view.many(records, metadata))


class _Page(NamedTuple):
    limit: int
    version: int
    start: tuple[str, str] | None

    @classmethod
    def of(cls, query: Query) -> _Page:
        # As kube-apiserver: a limit that is not positive (some clients send -1) is none.
        limit, token = max(0, query.signed("limit") or 0), query.get("continue")
        if not token:
            return cls(limit, 0, None)
        try:
            version, namespace, name = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            return cls(limit, int(version), (str(namespace), str(name)))
        except (ValueError, TypeError, binascii.Error):
            raise bad_request("continue key is not valid") from None


def _token(version: int, namespace: str, name: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([version, namespace, name])).decode().rstrip("=")


def _version(query: Query) -> int:
    text = query.get("resourceVersion")
    if not (text == "" or (text.isascii() and text.isdigit() and len(text) < 19)):
        raise bad_request(f'Invalid value: "{text}": resourceVersion: it is not a whole number')
    return int(text or 0)


def _check_version(query: Query, store: Store, page: _Page) -> None:
    match, asked = query.get("resourceVersionMatch"), _version(query)
    if match and match not in _MATCHES:
        raise _invalid_options("resourceVersionMatch", f'Unsupported value: "{match}"')
    if match and not query.get("resourceVersion"):
        raise _invalid_options("resourceVersionMatch", "Forbidden: it needs a resourceVersion")
    if match == "Exact" and not asked:
        raise _invalid_options("resourceVersionMatch", 'Forbidden: "Exact" is forbidden for resourceVersion "0"')
    if page.start and (match or asked):
        raise _invalid_options("resourceVersion", "Forbidden: a continue token carries it")
    if asked > store.version:
        raise refusals.version_too_large(asked, store.version)
    if match == "Exact" and asked != store.version:
        raise refusals.expired(f"The resourceVersion for the provided list is too old: {asked} ({store.version})")


def _invalid_options(field: str, message: str) -> Exception:
    cause = Cause("FieldValueInvalid", field, message)
    details = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": [cause.as_json()]}
    return unprocessable(f'ListOptions.meta.k8s.io "" is invalid: {field}: {message}', details=details)
