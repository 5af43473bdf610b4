"""The API as an ASGI application: who asks, may they, what do they ask for, who answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog

from binderops.errors import KubernetesError, StoreFailedError
from binderops.node.api import refusals
from binderops.node.api.authentication import Impersonation, User, authenticate, impersonated
from binderops.node.api.authorization import Attributes
from binderops.node.api.context import Api, Call
from binderops.node.api.deleting import delete_collection, delete_object
from binderops.node.api.discovery import Discovery
from binderops.node.api.http import (
    Answer,
    Receive,
    Request,
    Scope,
    Send,
    Stream,
    error_answer,
    json_answer,
    text_answer,
)
from binderops.node.api.kubelet import Kubelet
from binderops.node.api.objects.status import bad_request
from binderops.node.api.pods import bind_pod, evict_pod
from binderops.node.api.reading import get_object, list_objects
from binderops.node.api.requests import RequestInfo, Target, request_info
from binderops.node.api.reviews import request_token, review
from binderops.node.api.scaling import get_scale, patch_scale, replace_scale
from binderops.node.api.selection import Selection
from binderops.node.api.watching import watch_objects
from binderops.node.api.writing import create_object, patch_object, replace_object
from binderops.node.store import StaleRecordError

_log = structlog.get_logger("api")
Handler = Callable[[Api, Call], Awaitable[Answer | Stream]]
_HEALTH = ("/healthz", "/livez", "/readyz")

_MAIN: Mapping[str, Handler] = {
    "get": get_object,
    "list": list_objects,
    "watch": watch_objects,
    "create": create_object,
    "update": replace_object,
    "patch": patch_object,
    "delete": delete_object,
    "deletecollection": delete_collection,
}
_BELOW: Mapping[tuple[str, str], Handler] = {
    ("status", "get"): get_object,
    ("status", "update"): replace_object,
    ("status", "patch"): patch_object,
    ("finalize", "update"): replace_object,
    ("scale", "get"): get_scale,
    ("scale", "update"): replace_scale,
    ("scale", "patch"): patch_scale,
    ("binding", "create"): bind_pod,
    ("eviction", "create"): evict_pod,
    ("token", "create"): request_token,
}


class Application:
    """Answers every request; whatever goes wrong becomes a Status."""

    def __init__(self, api: Api, discovery: Discovery, kubelet: Kubelet) -> None:
        self._api = api
        self._discovery = discovery
        self._kubelet = kubelet
        self.ready = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's entry."""
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request: Request | None = None
        try:
            request = Request(scope, receive)
            answer = await self._answer(request)
        except ConnectionResetError:
            return
        except Exception as error:  # an answer, never a crash
            answer = self._answer_for(error, scope)
        if request is None:
            request = Request({**scope, "query_string": b""}, receive)
        await answer.send(request, send)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request = Request(scope, receive)
            info, user = self._admitted(request)
            target = info.target
            if target is None or target.subresource not in {"exec", "attach"}:
                raise bad_request("only exec and attach are served over WebSocket")
            self._authorize(user, RequestInfo("create", info.path, target), request)
            call = Call(request, user, target)
            await self._kubelet.stream(self._api, call, scope, receive, send)
        except Exception as error:
            await _deny_websocket(self._answer_for(error, scope), send)

    def _answer_for(self, error: Exception, scope: Scope) -> Answer:
        match error:
            case KubernetesError():
                return error_answer(error)
            case StaleRecordError():
                message = "the object has been modified; please apply your changes to the latest version and try again"
                return error_answer(refusals.refusal(409, "Conflict", message))
            case StoreFailedError():
                _log.error("a write failed", path=scope.get("path"), error=str(error))
                return error_answer(refusals.internal(str(error)))
        _log.error("a request failed", method=scope.get("method"), path=scope.get("path"), exc_info=error)
        return error_answer(refusals.internal(f"{type(error).__name__} (see the node's log)"))

    async def _answer(self, request: Request) -> Answer | Stream:
        info, user = self._admitted(request)
        if info.target is None:
            return self._answer_path(info, request)
        handler = self._handler(info.verb, info.target)
        request.query.check()
        return await handler(self._api, Call(request, user, info.target, verb=info.verb))

    def _admitted(self, request: Request) -> tuple[RequestInfo, User]:
        """Who asks for what; 401 and 403 are raised here, before anything of the body is read."""
        info = request_info(request.method, request.raw_path, request.query)
        user = authenticate(request, self._api.tokens, self._api.store)
        if (wish := impersonated(request)) is not None:
            self._authorize_impersonation(user, wish)
            user = wish.user
        self._authorize(user, info, request)
        return info, user

    def _authorize(self, user: User, info: RequestInfo, request: Request) -> None:
        target = info.target
        if target is None:
            if not self._api.authorizer.allows(user, Attributes(info.verb, path=info.path)):
                raise refusals.forbidden_path(user.name, info.verb, info.path)
            return
        resource, name = target.resource, target.name
        if not name and info.verb in {"list", "watch", "deletecollection"} and request.query.get("fieldSelector"):
            name = Selection(resource, target.namespace, request.query).name
        wanted = Attributes(info.verb, resource.group, resource.plural, target.subresource, target.namespace, name)
        if not self._api.authorizer.allows(user, wanted):
            where = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
            what = f'resource "{wanted.full_resource}" in API group "{resource.group}" {where}'
            raise refusals.forbidden(resource, name, f'User "{user.name}" cannot {info.verb} {what}')

    def _authorize_impersonation(self, user: User, wish: Impersonation) -> None:
        """Each part of the wish wants the verb `impersonate`: the user or ServiceAccount, each named group, the uid."""
        wanted = [Attributes("impersonate", "", "groups", name=group) for group in wish.named_groups]
        if account := wish.service_account:
            wanted.append(Attributes("impersonate", "", "serviceaccounts", "", *account))
        else:
            wanted.append(Attributes("impersonate", "", "users", name=wish.user.name))
        if wish.user.uid:
            wanted.append(Attributes("impersonate", "authentication.k8s.io", "uids", name=wish.user.uid))
        for attributes in wanted:
            if not self._api.authorizer.allows(user, attributes):
                text = f'{attributes.resource} "{attributes.name}" is forbidden: User "{user.name}" cannot impersonate'
                raise refusals.refusal(403, "Forbidden", f'{text} resource "{attributes.resource}"')

    def _answer_path(self, info: RequestInfo, request: Request) -> Answer:
        root = "/" + info.path.split("/")[1]
        if root in _HEALTH:
            return self._answer_health(info.path, request)
        if info.verb != "get":
            raise refusals.method_not_allowed()
        match info.path:
            case "/openid/v1/jwks":
                return json_answer(self._api.tokens.key_set())
            case "/.well-known/openid-configuration":
                address = f"{self._api.config.kubernetes_service_address}:443"
                return json_answer(self._api.tokens.discovery(f"https://{address}"))
        answer = self._discovery.answer(info.path, request)
        if answer is None:
            raise refusals.no_such_resource()
        return answer

    def _answer_health(self, path: str, request: Request) -> Answer:
        root = path.split("/")[1]
        good = self.ready or root != "readyz"
        if not good:
            return text_answer(f"[+]ping ok\n[-]bootstrap failed: not finished\n{root} check failed\n", code=500)
        if "verbose" in request.query.raw():
            return text_answer(f"[+]ping ok\n[+]store ok\n[+]bootstrap ok\n{root} check passed\n")
        return text_answer("ok")

    def _handler(self, verb: str, target: Target) -> Handler:
        resource, subresource = target.resource, target.subresource
        if subresource:
            if subresource == "log" and verb == "get":
                return self._kubelet.logs
            if subresource in {"exec", "attach"} and verb in {"get", "create"}:
                raise bad_request("Upgrade request required: exec and attach are served over WebSocket")
            handler = _BELOW.get((subresource, verb))
        elif not resource.is_stored:
            handler = review if verb == "create" and not target.name else None
        else:
            handler = _MAIN.get(verb) if verb in resource.verbs else None
            # A name belongs to what concerns one object, and to nothing else; a namespace to every create.
            if bool(target.name) == (verb in {"list", "watch", "create", "deletecollection"}):
                handler = None
            if verb == "create" and resource.namespaced and not target.namespace:
                handler = None
        if handler is None:
            raise refusals.method_not_allowed()
        return handler


async def _deny_websocket(answer: Answer, send: Send) -> None:
    """Answer the handshake with a Status instead of a WebSocket (the ASGI extension of that name)."""
    headers: list[tuple[bytes, bytes]] = [(b"content-type", answer.media_type.encode())]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "websocket.http.response.start", "status": answer.code, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": answer.body})
