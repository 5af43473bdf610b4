"""Who speaks: a client certificate of the node's CA, a ServiceAccount token, or nobody (system:anonymous)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from binderops.node.api import refusals
from binderops.node.api.http import Request
from binderops.node.api.tokens import Identity, InvalidTokenError, TokenAuthority
from binderops.node.store import Store

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
_BEARER = "bearer "
_WEBSOCKET_BEARER = "base64url.bearer.authorization.k8s.io."


class User(NamedTuple):
    """Who makes a request."""

    name: str
    groups: tuple[str, ...]
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The user as reviews show it (UserInfo)."""
        found: dict[str, Any] = {"username": self.name, "groups": list(self.groups)}
        if self.uid:
            found["uid"] = self.uid
        if self.extra:
            found["extra"] = {key: list(values) for key, values in self.extra}
        return found


ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))


def authenticate(request: Request, tokens: TokenAuthority, store: Store) -> User:
    """Who makes the request. 401 when a credential was sent that is not good."""
    certificate = request.state.get("peer")
    if certificate is not None:
        return user_of_certificate(certificate)
    authorization = request.header("authorization")
    if not authorization:
        return ANONYMOUS
    if not authorization.lower().startswith(_BEARER):
        raise refusals.unauthorized()
    try:
        return user_of_identity(tokens.check(authorization[len(_BEARER) :].strip(), store))
    except InvalidTokenError:
        raise refusals.unauthorized() from None


def user_of_certificate(certificate: Mapping[str, Any]) -> User:
    """CN is the user, each O a group (`certificate` as `ssl.getpeercert` gives it, already verified)."""
    attributes = [pair for part in certificate.get("subject", ()) for pair in part]
    names = [value for key, value in attributes if key == "commonName"]
    groups = [value for key, value in attributes if key == "organizationName"]
    return User(names[0] if names else "", (*groups, AUTHENTICATED))


def user_of_identity(identity: Identity) -> User:
    """The user that a ServiceAccount token speaks for."""
    extra = [("authentication.kubernetes.io/credential-id", (f"JTI={identity.token_id}",))]
    if identity.pod:
        extra.append(("authentication.kubernetes.io/pod-name", (identity.pod[0],)))
        extra.append(("authentication.kubernetes.io/pod-uid", (identity.pod[1],)))
    return User(
        f"system:serviceaccount:{identity.namespace}:{identity.account}",
        ("system:serviceaccounts", f"system:serviceaccounts:{identity.namespace}", AUTHENTICATED),
        identity.uid,
        tuple(extra),
    )


def impersonated(request: Request) -> User | None:
    """The user whom the request asks to be taken for (`kubectl --as`); whether it may, authorization decides."""
    name = request.header("impersonate-user")
    groups = request.headers("impersonate-group")
    if not name:
        if groups or request.header("impersonate-uid"):
            raise refusals.refusal(400, "BadRequest", "impersonation of groups or a uid needs a user")
        return None
    name = unquote(name)
    if name.startswith("system:serviceaccount:") and not groups and name.count(":") == 3:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{name.split(':')[2]}"]
    if name != ANONYMOUS.name and AUTHENTICATED not in groups:
        groups = [*groups, AUTHENTICATED]
    if name == ANONYMOUS.name and UNAUTHENTICATED not in groups:
        groups = [*groups, UNAUTHENTICATED]
    return User(name, tuple(groups), request.header("impersonate-uid"))
