"""How a client proves itself to a registry: anonymously, by a password, or by minting its own tokens."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from binderops.errors import RegistryError
from binderops.oci.references import registry_of_url
from binderops.oci.scopes import Scope

if TYPE_CHECKING:
    # Whoever holds a key has loaded this; the others start without it.
    from binderops.oci.tokens import TokenSigner

_LONGEST_ANSWER = 1 << 20


@dataclass(frozen=True)
class Challenge:
    """A `WWW-Authenticate` header: its scheme (lower case) and parameters."""

    scheme: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, header: str) -> Challenge:
        """Read the first challenge of a header."""
        scheme, _, rest = header.strip().partition(" ")
        pairs = re.findall(r'([A-Za-z0-9_-]+)="((?:[^"\\]|\\.)*)"', rest)
        return cls(scheme.lower(), {name.lower(): value for name, value in pairs})


class Authorizer(Protocol):
    """Answers a registry's challenge with the value of an `Authorization` header, or None: nothing to offer."""

    async def authorize(self, challenge: Challenge, scopes: tuple[Scope, ...], client: httpx.AsyncClient) -> str | None:
        """Raises RegistryError if the token server refuses."""
        ...


@dataclass(frozen=True)
class Minting:
    """For who holds the registry's signing key: no round trip to a token server."""

    signer: TokenSigner

    async def authorize(self, challenge: Challenge, scopes: tuple[Scope, ...], client: httpx.AsyncClient) -> str | None:
        """A token for exactly the scopes that the request needs."""
        return f"Bearer {self.signer.mint(scopes, subject=self.signer.issuer)}"


@dataclass(frozen=True)
class Password:
    """A user name and password, or neither (anonymous): by basic authentication, or the token dance where asked for."""

    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of a basic `Authorization` header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    async def authorize(self, challenge: Challenge, scopes: tuple[Scope, ...], client: httpx.AsyncClient) -> str | None:
        """Basic as it is; for bearer, ask the realm (https://distribution.github.io/distribution/spec/auth/token/)."""
        if challenge.scheme == "basic":
            return self.basic if self.username else None
        realm = challenge.parameters.get("realm", "")
        if challenge.scheme != "bearer" or not realm.startswith(("http://", "https://")):
            raise RegistryError("the registry asks for an unknown kind of authentication", why=challenge.scheme)
        query = httpx.QueryParams({"service": challenge.parameters.get("service", "")})
        for scope in scopes:
            query = query.add("scope", str(scope))
        headers = {"Authorization": self.basic} if self.username else {}
        answer = await client.get(realm, params=query, headers=headers)
        if answer.status_code != 200:
            raise RegistryError(
                "the token server refuses",
                where=realm,
                why=f"{answer.status_code} for {' '.join(map(str, scopes))}",
                hint="check the registry's user name and password",
            )
        return f"Bearer {_token_of(answer, realm)}"


ANONYMOUS = Password()


def parse_docker_config(text: str | bytes) -> dict[str, Password]:
    """Credentials by registry host of a `config.json` (`auths`), as a dockerconfigjson Secret holds it."""
    try:
        auths = json.loads(text).get("auths", {})
        return {registry_of_url(server): _password_of(entry) for server, entry in auths.items()}
    except (ValueError, AttributeError, TypeError, binascii.Error) as error:
        raise RegistryError("a docker config.json cannot be read", why=str(error)) from error


def _password_of(entry: Mapping[str, Any]) -> Password:
    if entry.get("auth"):
        username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        return Password(username, password)
    return Password(str(entry.get("username", "")), str(entry.get("password", "")))


def _token_of(answer: httpx.Response, realm: str) -> str:
    try:
        body = json.loads(answer.content[:_LONGEST_ANSWER])
        token = body.get("token") or body["access_token"]
        if isinstance(token, str) and token:
            return token
    except (ValueError, KeyError, AttributeError):
        pass
    raise RegistryError("the token server's answer holds no token", where=realm)
