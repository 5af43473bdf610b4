"""ServiceAccount tokens: minted on TokenRequest, checked on each use against the objects that they are bound to.

The claims are those of kube-apiserver (private claim `kubernetes.io`), signed with ES256.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from binderops.node.store import Store

Object = dict[str, Any]

SHORTEST = 600  # seconds; kube-apiserver's own bounds
LONGEST = 1 << 32
_ALGORITHM = "ES256"


class InvalidTokenError(Exception):
    """The token is not good; the text says why, for logs only."""


class Identity(NamedTuple):
    """Who a good token speaks for."""

    namespace: str
    account: str
    uid: str
    audiences: tuple[str, ...]
    pod: tuple[str, str] | None
    token_id: str


class TokenAuthority:
    """Mints and checks the tokens of one node."""

    def __init__(self, key_file: Path, *, cluster_domain: str) -> None:
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{key_file} is not an elliptic-curve key")
        self._key = key
        self._public = key.public_key()
        self._key_id = _key_id(self._public)
        self.issuer = f"https://kubernetes.default.svc.{cluster_domain}"

    def mint(
        self, account: Object, *, audiences: Sequence[str], seconds: int, now: int, bound: Object | None = None
    ) -> str:
        """A token for a ServiceAccount, good for `seconds` from `now` (Unix time), `bound` to a pod or Secret."""
        metadata = account["metadata"]
        about: Object = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        if bound is not None:
            reference = {"name": bound["metadata"]["name"], "uid": bound["metadata"]["uid"]}
            about[bound["kind"].lower()] = reference
        claims = {
            "iss": self.issuer,
            "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
            "aud": list(audiences) or [self.issuer],
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": about,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": self._key_id})

    def check(self, token: str, store: Store, *, audiences: Sequence[str] | None = None) -> Identity:
        """Whom a token speaks for. Raises InvalidTokenError; `audiences` defaults to this API's."""
        wanted = list(audiences or [self.issuer])
        try:
            claims = jwt.decode(
                token,
                self._public,
                algorithms=[_ALGORITHM],
                audience=wanted,
                issuer=self.issuer,
                # Whatever the clock says: what this node signed, it signed before.
                options={"require": ["exp", "iat", "nbf", "sub", "aud"], "verify_nbf": False, "verify_iat": False},
            )
            about = claims["kubernetes.io"]
            namespace, account = str(about["namespace"]), about["serviceaccount"]
            name, uid = str(account["name"]), str(account["uid"])
        except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            raise InvalidTokenError(str(error)) from None
        _check_alive(store, "serviceaccounts", namespace, name, uid)
        pod = None
        for kind, resource in (("pod", "pods"), ("secret", "secrets")):
            if kind in about:
                _check_alive(store, resource, namespace, about[kind]["name"], about[kind]["uid"])
                pod = (about[kind]["name"], about[kind]["uid"]) if kind == "pod" else pod
        granted = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        good_for = tuple(audience for audience in granted if audience in wanted)
        return Identity(namespace, name, uid, good_for, pod, str(claims.get("jti", "")))

    def key_set(self) -> Object:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        numbers = self._public.public_numbers()
        coordinates = {"x": _base64(numbers.x.to_bytes(32, "big")), "y": _base64(numbers.y.to_bytes(32, "big"))}
        key = {"use": "sig", "kty": "EC", "kid": self._key_id, "crv": "P-256", "alg": _ALGORITHM}
        return {"keys": [key | coordinates]}

    def discovery(self, server: str) -> Object:
        """The OpenID provider document of this issuer."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{server}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [_ALGORITHM],
        }


def _check_alive(store: Store, resource: str, namespace: str, name: str, uid: str) -> None:
    record = store.get(resource, namespace, name)
    if record is None or record.fields.get("metadata.uid") != uid:
        raise InvalidTokenError(f"{resource} {namespace}/{name} of uid {uid} is gone")


def _key_id(key: ec.EllipticCurvePublicKey) -> str:
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(encoded)
    return _base64(digest.finalize())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
