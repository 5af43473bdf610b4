"""The refusals of the API, in kube-apiserver's own words: errors that carry the `Status` to send.

Clients read `reason`, `details` and `code`; people read `message`. What concerns the content of an object stands in
`objects.status`.
"""

from __future__ import annotations

from typing import Any

from binderops.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    GoneError,
    KubernetesError,
    NotFoundError,
)
from binderops.node.api.objects.status import failure
from binderops.node.api.resources import Resource

Object = dict[str, Any]


def details_of(resource: Resource, name: str = "", **more: Any) -> Object:
    """`Status.details` for an object."""
    details: Object = {}
    if name:
        details["name"] = name
    if resource.group:
        details["group"] = resource.group
    return details | {"kind": resource.plural} | more


def refusal(code: int, reason: str, message: str, *, details: Object | None = None) -> KubernetesError:
    """Any refusal."""
    status = failure(code, reason, message, details=details)
    return KubernetesError(message, code=code, reason=reason, status=status)


def not_found(resource: Resource, name: str) -> NotFoundError:
    """404 for an object."""
    message = f'{resource.id} "{name}" not found'
    status = failure(404, "NotFound", message, details=details_of(resource, name))
    return NotFoundError(message, code=404, reason="NotFound", status=status)


def no_such_resource() -> NotFoundError:
    """404 for a path that names nothing here."""
    message = "the server could not find the requested resource"
    return NotFoundError(message, code=404, reason="NotFound", status=failure(404, "NotFound", message, details={}))


def method_not_allowed() -> KubernetesError:
    """405."""
    return refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def already_exists(resource: Resource, name: str) -> AlreadyExistsError:
    """409 for a create."""
    message = f'{resource.id} "{name}" already exists'
    status = failure(409, "AlreadyExists", message, details=details_of(resource, name))
    return AlreadyExistsError(message, code=409, reason="AlreadyExists", status=status)


_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(resource: Resource, name: str, why: str = _MODIFIED) -> ConflictError:
    """409 for a stale resource version or a precondition that does not hold."""
    message = f'Operation cannot be fulfilled on {resource.id} "{name}": {why}'
    status = failure(409, "Conflict", message, details=details_of(resource, name))
    return ConflictError(message, code=409, reason="Conflict", status=status)


def forbidden(resource: Resource, name: str, why: str, *, causes: list[Object] | None = None) -> ForbiddenError:
    """403 for an object: by authorization or admission."""
    subject = f'{resource.id} "{name}"' if name else resource.id
    message = f"{subject} is forbidden: {why}"
    details = details_of(resource, name, **({"causes": causes} if causes else {}))
    return ForbiddenError(
        message, code=403, reason="Forbidden", status=failure(403, "Forbidden", message, details=details)
    )


def forbidden_path(user: str, verb: str, path: str) -> ForbiddenError:
    """403 for a path that is no resource."""
    message = f'forbidden: User "{user}" cannot {verb} path "{path}"'
    return ForbiddenError(message, code=403, reason="Forbidden", status=failure(403, "Forbidden", message, details={}))


def unauthorized() -> KubernetesError:
    """401: a credential was sent, and it is not good."""
    return refusal(401, "Unauthorized", "Unauthorized")


def expired(message: str) -> GoneError:
    """410: the resource version is too old."""
    return GoneError(message, code=410, reason="Expired", status=failure(410, "Expired", message))


def version_too_large(asked: int, current: int) -> KubernetesError:
    """504: a resource version that is not reached yet."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Too large resource version: {asked}, current: {current}"
    return refusal(504, "Timeout", message, details={"causes": [cause], "retryAfterSeconds": 1})


def not_acceptable(offered: str) -> KubernetesError:
    """406."""
    message = f"only the following media types are accepted: {offered}"
    return refusal(406, "NotAcceptable", message)


def unavailable(message: str) -> KubernetesError:
    """503."""
    return refusal(503, "ServiceUnavailable", message)


def internal(message: str) -> KubernetesError:
    """500."""
    return refusal(
        500, "InternalError", f"Internal error occurred: {message}", details={"causes": [{"message": message}]}
    )
