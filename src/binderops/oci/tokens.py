"""Who may do what in a registry: grants, and the tokens that carry them.

The form is distribution's token authentication (https://distribution.github.io/distribution/spec/auth/jwt/): a JWT,
RS256 or ES256, whose `aud` is one string and whose header names the certificate as `x5c`.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from binderops.errors import RegistryError
from binderops.oci.scopes import PULL, PUSH, Scope

# One token is used within one build step or pull; a layer that uploads longer asks for the next one by itself.
TOKEN_SECONDS = 900
_SKEW_SECONDS = 60


@dataclass(frozen=True)
class Grants:
    """What a credential may do. `pull_anything` is the pull Secret's; a build names each repository."""

    pull: frozenset[str] = frozenset()
    push: frozenset[str] = frozenset()
    pull_anything: bool = False

    def allowed(self, scopes: Iterable[Scope]) -> list[Scope]:
        """What of the wanted scopes is allowed, without the empty ones."""
        narrowed = [Scope(scope.repository, scope.actions & self._actions(scope.repository)) for scope in scopes]
        return [scope for scope in narrowed if scope.actions]

    def _actions(self, repository: str) -> frozenset[str]:
        if repository in self.push:
            return frozenset({PULL, PUSH})
        if self.pull_anything or repository in self.pull:
            return frozenset({PULL})
        return frozenset()

    def to_claims(self) -> dict[str, Any]:
        """The JSON form, for a credential that is itself a JWT."""
        return {"pull": sorted(self.pull), "push": sorted(self.push)}

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Grants:
        """Read `to_claims` again (`pull_anything` never travels in a credential)."""
        return cls(frozenset(map(str, claims.get("pull", ()))), frozenset(map(str, claims.get("push", ()))))


@dataclass(frozen=True)
class TokenSigner:
    """Mints registry tokens with the key whose certificate the registry trusts (`rootcertbundle`)."""

    issuer: str
    service: str
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate = field(repr=False)

    @classmethod
    def load(cls, folder: Path, *, issuer: str = "binder", service: str = "registry") -> TokenSigner:
        """Read `tls.key` and `tls.crt` of a mounted Secret; raises RegistryError if they are unusable."""
        try:
            key = load_pem_private_key((folder / "tls.key").read_bytes(), password=None)
            certificate = x509.load_pem_x509_certificate((folder / "tls.crt").read_bytes())
        except (OSError, ValueError) as error:
            raise RegistryError(
                "the registry's signing key cannot be read", where=str(folder), why=str(error)
            ) from error
        if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
            raise RegistryError("the registry's signing key is neither RSA nor EC", where=str(folder))
        return cls(issuer, service, key, certificate)

    def mint(self, scopes: Iterable[Scope], *, subject: str = "", now: float | None = None) -> str:
        """A token for exactly these scopes, valid for TOKEN_SECONDS."""
        issued = int(time.time() if now is None else now)
        claims = {
            "iss": self.issuer,
            "sub": subject,
            # A list here is answered 401 by distribution 2.8.
            "aud": self.service,
            "exp": issued + TOKEN_SECONDS,
            "nbf": issued - _SKEW_SECONDS,
            "iat": issued,
            "jti": uuid.uuid4().hex,
            "access": [
                {"type": "repository", "name": scope.repository, "actions": sorted(scope.actions)} for scope in scopes
            ],
        }
        der = base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()
        return self.sign(claims, headers={"x5c": [der]})

    def sign(self, claims: Mapping[str, Any], headers: dict[str, Any] | None = None) -> str:
        """Any other claims by the same key; for another audience than `service`, or the registry would accept them."""
        return jwt.encode(dict(claims), self.key, algorithm=self._algorithm, headers=headers)

    def verify(self, token: str, *, audience: str) -> dict[str, Any]:
        """The claims of what `sign` made for this audience; raises jwt.InvalidTokenError."""
        claims: dict[str, Any] = jwt.decode(
            token, self.key.public_key(), algorithms=[self._algorithm], audience=audience
        )
        return claims

    @property
    def _algorithm(self) -> str:
        return "RS256" if isinstance(self.key, rsa.RSAPrivateKey) else "ES256"
