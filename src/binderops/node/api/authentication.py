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


class Impersonation(NamedTuple):
    """The user whom a request asks to be taken for, and the groups that it names itself (the others follow)."""

    user: User
    named_groups: tuple[str, ...]

    @property
    def service_account(self) -> tuple[str, str] | None:
        """(namespace, name) when the user is a ServiceAccount."""
        parts = self.user.name.split(":")
        return (parts[2], parts[3]) if parts[:2] == ["system", "serviceaccount"] and len(parts) == 4 else None


def impersonated(request: Request) -> Impersonation | None:
    """The user whom the request asks to be taken for (`kubectl --as`); whether it may, authorization decides."""
    name, uid = request.header("impersonate-user"), request.header("impersonate-uid")
    named = tuple(request.headers("impersonate-group"))
    if not name:
        if named or uid:
            raise refusals.refusal(400, "BadRequest", "impersonation of groups or a uid needs a user")
        return None
    found = Impersonation(User(unquote(name), named, uid), named)
    groups = named
    if found.service_account and not named:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{found.service_account[0]}")
    also = UNAUTHENTICATED if found.user.name == ANONYMOUS.name else AUTHENTICATED
    if also not in groups:
        groups = (*groups, also)
    return found._replace(user=found.user._replace(groups=groups))
