"""JSON patch (RFC 6902), by the `jsonpatch` library, with kube-apiserver's limits."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException

from binderops.node.api.objects.decoding import MAX_BODY
from binderops.node.api.objects.status import Object, bad_request, too_large, unprocessable

MAX_OPERATIONS = 10_000
"""kube-apiserver's limit of operations in one patch."""

_REJECTED = "the server rejected our request due to an error in our request"
_UNFIT = (
    jsonpatch.JsonPatchException, JsonPointerException, KeyError, TypeError, ValueError, IndexError, AttributeError,
)  # fmt: skip
_NEEDED = {
    **dict.fromkeys(("add", "replace", "test"), ("path", "value")),
    **dict.fromkeys(("move", "copy"), ("from", "path")),
}
_OPERATIONS = frozenset({"add", "remove", "replace", "move", "copy", "test"})


def json_patch(live: Object, operations: Any) -> Object:
    """The live object after the operations. InvalidError: 400 what is no patch, 413 too many, 422 cannot be done."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    if len(operations) > MAX_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        raise too_large(message)
    for operation in operations:
        if not isinstance(operation, dict) or str(operation.get("op")) not in _OPERATIONS:
            raise bad_request(f"not an operation of a JSON patch: {json.dumps(operation)[:200]}")
    _check_copies(live, operations)
    patched: Any = deepcopy(live)
    for operation in operations:
        try:
            patched = jsonpatch.JsonPatch([operation]).apply(patched, in_place=True)
        except _UNFIT as error:
            raise unprocessable(f"{_REJECTED}: {_problem(operation, error)}") from error
    if not isinstance(patched, dict):
        raise unprocessable("the patch leaves no object")
    return patched


def _problem(operation: Object, error: Exception) -> str:
    """What kube-apiserver's library (evanphx/json-patch) says of an operation that cannot be done."""
    path = json.dumps(operation.get("path"))[:200]
    if isinstance(error, jsonpatch.JsonPatchTestFailed):
        return f"testing value {path} failed: test failed"
    missing = [key for key in _NEEDED.get(str(operation["op"]), ("path",)) if key not in operation]
    if missing:
        return f"{operation['op']} operation does not apply: it has no {' and no '.join(missing)}"
    origin = f" from {json.dumps(operation['from'])[:200]}" if "from" in operation else ""
    return f"{operation['op']} operation does not apply: doc is missing path{origin}: {path}: missing value"


def _check_copies(live: Object, operations: list[Object]) -> None:
    """Each copy may double the object: bound what all of them together could make."""
    copies = sum(operation["op"] == "copy" for operation in operations)
    if copies and len(json.dumps(live)) * 2 ** min(copies, 64) > 64 * MAX_BODY:
        raise too_large("the copies of this JSON patch could make the object too large")
