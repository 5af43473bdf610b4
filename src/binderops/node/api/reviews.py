"""Reviews (may I, may they, who am I, whose token is this), and the minting of ServiceAccount tokens."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from binderops.kube.objects import timestamp
from binderops.node.api import refusals
from binderops.node.api.authentication import User, user_of_identity
from binderops.node.api.authorization import Attributes
from binderops.node.api.context import Api, Call
from binderops.node.api.http import Answer, json_answer
from binderops.node.api.objects.status import bad_request
from binderops.node.api.resources import BY_PATH, Resource
from binderops.node.api.tokens import LONGEST, SHORTEST, InvalidTokenError

Object = dict[str, Any]
_DEFAULT_TOKEN = 3600  # seconds
_TOKEN_REQUEST = Resource("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", True, ("create",), {})


async def review(api: Api, call: Call) -> Answer:
    """Answer a review."""
    obj = await call.read_object()
    if call.resource.plural == "localsubjectaccessreviews":
        call.check_names(obj)
    metadata = {**(obj.get("metadata") or {}), "creationTimestamp": None}
    status = await _REVIEWS[call.resource.plural](api, call, obj.get("spec") or {})
    head = {"kind": call.resource.kind, "apiVersion": call.resource.api_version, "metadata": metadata}
    spec = {} if call.resource.plural == "selfsubjectreviews" else {"spec": obj.get("spec") or {}}
    return json_answer(head | spec | {"status": status}, code=201)


async def _token_review(api: Api, call: Call, spec: Object) -> Object:
    audiences = [str(audience) for audience in spec.get("audiences") or ()]
    try:
        identity = api.tokens.check(str(spec.get("token") or ""), api.store, audiences=audiences)
    except InvalidTokenError as error:
        return {"authenticated": False, "user": {}, "error": str(error)}
    user = user_of_identity(identity).as_json()
    return {"authenticated": True, "user": user, "audiences": list(identity.audiences)}


async def _self_review(api: Api, call: Call, spec: Object) -> Object:
    return {"userInfo": call.user.as_json()}


async def _self_access(api: Api, call: Call, spec: Object) -> Object:
    return _decision(api, call.user, spec)


async def _access(api: Api, call: Call, spec: Object) -> Object:
    extra = tuple((key, tuple(values)) for key, values in (spec.get("extra") or {}).items())
    user = User(str(spec.get("user") or ""), tuple(spec.get("groups") or ()), str(spec.get("uid") or ""), extra)
    if not user.name and not user.groups:
        raise bad_request("at least one of user or group must be specified")
    return _decision(api, user, spec)


async def _local_access(api: Api, call: Call, spec: Object) -> Object:
    attributes = spec.get("resourceAttributes") or {}
    if spec.get("nonResourceAttributes") or (attributes.get("namespace") or call.namespace) != call.namespace:
        raise bad_request("a local review asks about resources of its own namespace only")
    return await _access(api, call, {**spec, "resourceAttributes": {**attributes, "namespace": call.namespace}})


def _decision(api: Api, user: User, spec: Object) -> Object:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if bool(resource) == bool(path):
        raise bad_request("exactly one of nonResourceAttributes or resourceAttributes must be specified")
    if path:
        wanted = Attributes(str(path.get("verb") or ""), path=str(path.get("path") or ""))
    else:
        keys = ("verb", "group", "resource", "subresource", "namespace", "name")
        wanted = Attributes(*(str((resource or {}).get(key) or "") for key in keys))
    return {"allowed": api.authorizer.allows(user, wanted)}


async def _self_rules(api: Api, call: Call, spec: Object) -> Object:
    rules = [rule.as_json() for rule in api.authorizer.rules_for(call.user, str(spec.get("namespace") or ""))]
    return {
        "resourceRules": [rule for rule in rules if "nonResourceURLs" not in rule],
        "nonResourceRules": [rule for rule in rules if "nonResourceURLs" in rule],
        "incomplete": False,
    }


_REVIEWS: Mapping[str, Callable[[Api, Call, Object], Awaitable[Object]]] = {
    "tokenreviews": _token_review,
    "selfsubjectreviews": _self_review,
    "selfsubjectaccessreviews": _self_access,
    "selfsubjectrulesreviews": _self_rules,
    "subjectaccessreviews": _access,
    "localsubjectaccessreviews": _local_access,
}


async def request_token(api: Api, call: Call) -> Answer:
    """POST serviceaccounts/NAME/token: mint a token, bound to a pod or Secret if the request says so."""
    body = await call.read_object(kind=_TOKEN_REQUEST)
    account = api.latest(call.resource, call.namespace, call.name).object()
    spec = body.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    seconds = _DEFAULT_TOKEN if seconds is None else int(seconds)
    if not SHORTEST <= seconds <= LONGEST:
        raise bad_request(
            f"spec.expirationSeconds: Invalid value: {seconds}: may not specify a duration less than 10 minutes"
        )
    bound = _bound_object(api, call, spec.get("boundObjectRef"))
    audiences = [str(audience) for audience in spec.get("audiences") or ()]
    now = int(call.now.timestamp())
    token = api.tokens.mint(account, audiences=audiences, seconds=seconds, now=now, bound=bound)
    expires = timestamp(call.now + timedelta(seconds=seconds))
    full = {**spec, "audiences": audiences or [api.tokens.issuer], "expirationSeconds": seconds}
    metadata = {"name": call.name, "namespace": call.namespace, "creationTimestamp": timestamp(call.now)}
    answer = {"kind": "TokenRequest", "apiVersion": _TOKEN_REQUEST.api_version, "metadata": metadata, "spec": full}
    return json_answer(answer | {"status": {"token": token, "expirationTimestamp": expires}}, code=201)


def _bound_object(api: Api, call: Call, reference: Object | None) -> Object | None:
    if not reference:
        return None
    plural = {"Pod": "pods", "Secret": "secrets"}.get(str(reference.get("kind")))
    if plural is None or not re.fullmatch(r"(v1)?", str(reference.get("apiVersion") or "")):
        raise bad_request(f"cannot bind token to object of type {reference.get('kind')}")
    resource = BY_PATH[("", "v1", plural)]
    bound = api.latest(resource, call.namespace, str(reference.get("name") or "")).object()
    uid = bound["metadata"]["uid"]
    if reference.get("uid") not in {None, "", uid}:
        name = bound["metadata"]["name"]
        why = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record ({uid})"
        raise refusals.conflict(resource, name, why)
    if plural == "pods":
        runs_as = (bound.get("spec") or {}).get("serviceAccountName")
        if runs_as != call.name:
            raise bad_request(f"cannot bind token for serviceaccount {call.name!r} to pod running with {runs_as!r}")
    return bound
