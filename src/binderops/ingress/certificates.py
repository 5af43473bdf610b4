"""A certificate chain with its key, as a Secret of type kubernetes.io/tls holds them, checked before nginx sees them.

Both are parsed and written again: what nginx reads is our own serialisation, never text that somebody put into a
Secret (a PEM file may name an engine, CVE-2025-1974's last step).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

_LARGEST_FILE = 256 * 1024  # bytes; a chain with its key is some kilobytes
_RSA_BITS = range(2048, 8193)
_PLACEHOLDER_NAME = "placeholder.invalid"
_PLACEHOLDER_YEARS = 10

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Pair:
    """A chain (leaf first) with the leaf's key, in one PEM file, so that nginx can never read one without the other."""

    pem: bytes = field(repr=False)
    names: frozenset[str]
    kind: str  # "RSA" or "EC": nginx holds one of each for a name
    not_before: datetime
    not_after: datetime

    @property
    def digest(self) -> str:
        """Of the content; alike for alike pairs, whatever Secret they come from."""
        return hashlib.sha256(self.pem).hexdigest()[:32]

    def covers(self, host: str) -> bool:
        """Whether a browser would accept it for `host` (RFC 9525: a wildcard stands for one whole label)."""
        _, dot, parent = host.partition(".")
        return host in self.names or (not host.startswith("*.") and f"*{dot}{parent}" in self.names and bool(parent))


def pair_of(secret: Mapping[str, Any]) -> Pair:
    """The pair in a Secret. Raises ValueError, in words that continue "Secret NAME: …"."""
    data = secret.get("data") or {}
    chain, key = _decoded(data, "tls.crt"), _decoded(data, "tls.key")
    return parse_pair(chain, key)


def parse_pair(chain: bytes, key: bytes) -> Pair:
    """A pair from PEM text. Raises ValueError, also for what OpenSSL would refuse to serve."""
    private = _private_key(key)
    certificates = _in_order(_certificates(chain), private)
    leaf = certificates[0]
    names = _names(leaf)
    if not names:
        raise ValueError("its certificate names no host (subjectAltName)")
    text = b"".join(found.public_bytes(Encoding.PEM) for found in certificates)
    text += private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    kind = "RSA" if isinstance(private, rsa.RSAPrivateKey) else "EC"
    return Pair(text, names, kind, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def placeholder(now: datetime | None = None) -> Pair:
    """A self-signed pair for a name that nobody asks for: nginx needs one for names that have none."""
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _PLACEHOLDER_NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * _PLACEHOLDER_YEARS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_PLACEHOLDER_NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return parse_pair(
        certificate.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


def _decoded(data: Mapping[str, Any], name: str) -> bytes:
    if not data.get(name):
        raise ValueError(f"{name} is missing or empty")
    try:
        decoded = base64.b64decode(str(data[name]), validate=True)
    except binascii.Error:
        raise ValueError(f"{name} is not base64") from None
    if len(decoded) > _LARGEST_FILE:
        raise ValueError(f"{name} is larger than {_LARGEST_FILE // 1024} KiB")
    return decoded


def _private_key(text: bytes) -> PrivateKey:
    try:
        key = load_pem_private_key(text, password=None)
    except TypeError:
        raise ValueError("tls.key is encrypted") from None
    except Exception:  # the library names many; none of their texts may be shown, since they can quote a key
        raise ValueError("tls.key is not a private key in PEM") from None
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size not in _RSA_BITS:
            raise ValueError(f"tls.key is an RSA key of {key.key_size} bits; 2048 to 8192 are served")
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            raise ValueError(f"tls.key is on curve {key.curve.name}; P-256 and P-384 are served")
        return key
    raise ValueError("tls.key is neither an RSA nor an ECDSA key")


def _certificates(text: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        raise ValueError("tls.crt holds no certificates in PEM") from None


def _in_order(certificates: list[x509.Certificate], key: PrivateKey) -> list[x509.Certificate]:
    """The leaf, then who issued it, and so on: many a file has them in another order, or more than the chain."""
    public = key.public_key()
    leaf = next((found for found in certificates if found.public_key() == public), None)
    if leaf is None:
        raise ValueError("tls.key does not belong to any certificate in tls.crt")
    chain, rest = [leaf], [found for found in certificates if found != leaf]
    while issuer := next((found for found in rest if _issued(chain[-1], found)), None):
        chain.append(issuer)
        rest.remove(issuer)
    return chain


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _names(leaf: x509.Certificate) -> frozenset[str]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    return frozenset(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))
