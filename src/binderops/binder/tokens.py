"""The tokens that the binder mints: for pages (they exempt from the rate limit), and for build pods.

A page's token is upstream's: HS256, the spec as audience, the site as origin. A build's credential is signed by the key
whose certificate the registry trusts, so that a restarted binder still knows the builds that run.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from binderops.errors import BinderError, ValuesError
from binderops.oci.tokens import Grants, TokenSigner

_BUILD_AUDIENCE = "binder-build"


@dataclass(frozen=True)
class PageTokens:
    """Build tokens of launch pages."""

    secret: bytes = field(repr=False)
    seconds: int = 300
    check_origin: bool = True

    @classmethod
    def from_hex(cls, text: str, *, seconds: int, check_origin: bool) -> PageTokens:
        """With the secret that all replicas share (hexadecimal), or a random one."""
        try:
            secret = bytes.fromhex(text) if text else secrets.token_bytes(32)
        except ValueError as error:
            raise ValuesError(
                "the secret of build tokens is not hexadecimal", where="config.BinderHub.build_token_secret"
            ) from error
        return cls(secret, seconds, check_origin)

    def mint(self, audience: str, origin: str) -> str:
        """A token for one spec (`prefix/spec`) on one site (`host[:port]`)."""
        claims = {"exp": int(time.time()) + self.seconds, "aud": audience, "origin": origin}
        return jwt.encode(claims, self.secret, algorithm="HS256")

    def is_valid(self, token: str, audience: str, origin: str) -> bool:
        """Whether a token was minted here, for this, and has not ended."""
        try:
            claims = jwt.decode(token, self.secret, algorithms=["HS256"], audience=audience)
        except jwt.InvalidTokenError:
            return False
        return not self.check_origin or claims.get("origin") == origin


@dataclass(frozen=True)
class BuildCredentials:
    """What one build may do in the registry, as a password that says so itself."""

    signer: TokenSigner

    def mint(self, build: str, grants: Grants, *, seconds: float) -> str:
        """The password of one build."""
        claims: dict[str, Any] = {
            "aud": _BUILD_AUDIENCE,
            "sub": build,
            "exp": int(time.time() + seconds),
            **grants.to_claims(),
        }
        return self.signer.sign(claims)

    def read(self, password: str) -> tuple[str, Grants]:
        """The build's name and what it may do; raises BinderError for what was not minted here."""
        try:
            claims: Mapping[str, Any] = self.signer.verify(password, audience=_BUILD_AUDIENCE)
        except jwt.InvalidTokenError as error:
            raise BinderError("this is not a credential of a build", why=str(error)) from error
        return str(claims.get("sub", "")), Grants.from_claims(claims)


def same(given: str, expected: str) -> bool:
    """Compare two secrets without telling by the time how much of them is alike. An empty one never matches."""
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())
