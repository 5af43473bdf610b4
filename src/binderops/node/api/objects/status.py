"""`Status` objects, and the errors that carry them.

Every refusal of this package is a `KubernetesError` whose `status` is what kube-apiserver would have sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from binderops.errors import ConflictError, InvalidError

Object = dict[str, Any]


class Cause(NamedTuple):
    """One reason of a refusal, as in `Status.details.causes`: the CauseType, the field's path, the sentence."""

    reason: str
    field: str
    message: str

    def as_json(self) -> Object:
        """The cause as the API sends it."""
        entry = {"reason": self.reason, "message": self.message}
        return entry | {"field": self.field} if self.field else entry


def failure(code: int, reason: str, message: str, *, details: Object | None = None) -> Object:
    """A `Status` that says no: HTTP `code`, a metav1.StatusReason, and the message that kubectl prints."""
    status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    if reason:
        status["reason"] = reason
    if details:
        status["details"] = details
    return status | {"code": code}


def bad_request(message: str) -> InvalidError:
    """400 BadRequest."""
    return InvalidError(message, code=400, reason="BadRequest", status=failure(400, "BadRequest", message))


def unsupported_media_type(message: str) -> InvalidError:
    """415 UnsupportedMediaType."""
    return InvalidError(
        message, code=415, reason="UnsupportedMediaType", status=failure(415, "UnsupportedMediaType", message)
    )


def too_large(message: str) -> InvalidError:
    """413 RequestEntityTooLarge."""
    return InvalidError(
        message, code=413, reason="RequestEntityTooLarge", status=failure(413, "RequestEntityTooLarge", message)
    )


def internal_error(message: str) -> InvalidError:
    """500 without a reason, as kube-apiserver answers a patch that does not fit the object's type."""
    return InvalidError(message, code=500, reason="", status=failure(500, "", message))


def unprocessable(message: str, *, details: Object | None = None) -> InvalidError:
    """422 Invalid."""
    return InvalidError(message, code=422, reason="Invalid", status=failure(422, "Invalid", message, details=details))


def apply_conflict(message: str, causes: Sequence[Cause]) -> ConflictError:
    """409 Conflict of field owners, with one cause for each field."""
    details = {"causes": [cause.as_json() for cause in causes]}
    return ConflictError(
        message, code=409, reason="Conflict", status=failure(409, "Conflict", message, details=details)
    )
