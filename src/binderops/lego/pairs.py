"""Certificates with their keys: made, read, and examined before anybody serves them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Algorithm = Literal["ECDSA", "RSA"]

BACKDATED = timedelta(minutes=5)  # clocks of two machines that talk are never quite the same
_CURVES: dict[int, ec.EllipticCurve] = {256: ec.SECP256R1(), 384: ec.SECP384R1()}
_SIZES: dict[Algorithm, tuple[int, ...]] = {"ECDSA": (256, 384), "RSA": (2048, 3072, 4096)}


@dataclass(frozen=True)
class KeyKind:
    """An algorithm and its size in bits; ECDSA P-256 unless somebody chooses otherwise."""

    algorithm: Algorithm = "ECDSA"
    size: int = 256

    @classmethod
    def parse(cls, algorithm: str, size: str = "") -> KeyKind:
        """From text as cert-manager's annotations have it; ValueError names what is possible."""
        found: Algorithm
        match algorithm.upper() or "ECDSA":
            case "ECDSA":
                found = "ECDSA"
            case "RSA":
                found = "RSA"
            case _:
                raise ValueError(f"a key's algorithm is RSA or ECDSA, not {algorithm!r}")
        bits = int(size) if size.isdecimal() else (0 if size else _SIZES[found][0])
        if bits not in _SIZES[found]:
            raise ValueError(f"a key of {found} has {', '.join(map(str, _SIZES[found]))} bits, not {size!r}")
        return cls(found, bits)

    def generate(self) -> PrivateKey:
        """A new key."""
        if self.algorithm == "RSA":
            return rsa.generate_private_key(public_exponent=65537, key_size=self.size)
        return ec.generate_private_key(_CURVES[self.size])

    def fits(self, key: PrivateKey) -> bool:
        """Whether a key is of this kind."""
        algorithm = "RSA" if isinstance(key, rsa.RSAPrivateKey) else "ECDSA"
        return (algorithm, key.key_size) == (self.algorithm, self.size)


@dataclass(frozen=True)
class Pair:
    """A chain, leaf first, and the leaf's key."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate itself."""
        return self.chain[0]


def key_pem(key: PrivateKey) -> str:
    """A key as PEM text (PKCS 8, not encrypted: it lies in a Secret)."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode("ascii")


def chain_pem(chain: Iterable[x509.Certificate]) -> str:
    """A chain as PEM text, leaf first."""
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode("ascii") for each in chain)


def load_key(pem: str | bytes) -> PrivateKey:
    """A key from PEM text; ValueError for anything else, or a kind of key that servers do not use."""
    data = pem.encode() if isinstance(pem, str) else pem
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (TypeError, ValueError) as error:
        raise ValueError("the key is not a private key in PEM form") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("the key is neither RSA nor ECDSA")
    return key


def load_chain(pem: str | bytes) -> tuple[x509.Certificate, ...]:
    """Certificates from PEM text, in its order; ValueError if there is none, or one that cannot be parsed."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem.encode() if isinstance(pem, str) else pem))
    except ValueError as error:
        raise ValueError("the chain is not certificates in PEM form") from error


def read_pair(certificate: str | bytes, key: str | bytes) -> Pair:
    """A pair as a Secret holds it. ValueError when a part cannot be parsed, or the key is another's."""
    pair = Pair(load_chain(certificate), load_key(key))
    if pair.leaf.public_key() != pair.key.public_key():
        raise ValueError("the key does not match the certificate")
    return pair


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """The DNS names and IP addresses that a certificate is for, in small letters."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    names = {name.lower() for name in extension.get_values_for_type(x509.DNSName)}
    return frozenset(names | {str(address) for address in extension.get_values_for_type(x509.IPAddress)})


def covers(certificate: x509.Certificate, names: Iterable[str]) -> bool:
    """Whether a certificate is for all of these names; a wildcard in it stands for one label (RFC 6125)."""
    held = names_of(certificate)
    return all(name in held or (not is_address(name) and f"*.{name.partition('.')[2]}" in held) for name in names)


def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def general_names(names: Iterable[str]) -> x509.SubjectAlternativeName:
    """The names as a certificate or a CSR carries them."""
    made: list[x509.GeneralName] = [
        x509.IPAddress(ip_address(name)) if is_address(name) else x509.DNSName(name) for name in sorted(names)
    ]
    return x509.SubjectAlternativeName(made)


def signing_request(key: PrivateKey, names: Iterable[str]) -> x509.CertificateSigningRequest:
    """A CSR: names as alternative names only, as today's CAs want it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.add_extension(general_names(names), critical=True).sign(key, hashes.SHA256())


def examine(pair: Pair, names: Sequence[str], *, now: datetime) -> list[tuple[str, str]]:
    """What speaks against serving a new pair for `names`: (reason, words); nothing, if it is good.

    Whether clients trust the chain's end is theirs to say; that each certificate is signed by the next one is not.
    """
    found = []
    leaf = pair.leaf
    if leaf.public_key() != pair.key.public_key():
        found.append(("keyMismatch", "the key does not match the certificate"))
    if not covers(leaf, names):
        missing = [name for name in names if not covers(leaf, [name])]
        found.append(("namesMissing", f"it does not cover {', '.join(missing)}"))
    for certificate, issuer in zip(pair.chain, pair.chain[1:], strict=False):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, TypeError, ValueError):
            found.append(
                ("brokenChain", f"{_subject(certificate)!r} is not signed by {_subject(issuer)!r}, the next one")
            )
            break
    for certificate in pair.chain:
        if certificate.not_valid_after_utc <= now:
            found.append(("expired", f"{_subject(certificate)!r} ended at {certificate.not_valid_after_utc:%F %T}"))
    if leaf.not_valid_before_utc > now + BACKDATED:
        ahead = leaf.not_valid_before_utc - now
        found.append(("clockSkew", f"it begins {ahead} from now: this machine's clock or the CA's is wrong"))
    return found


def certificate_id(certificate: x509.Certificate) -> str:
    """What RFC 9773 (4.1) calls a certificate by: its issuer's key identifier and its serial number."""
    extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    if extension.key_identifier is None:
        raise ValueError("the certificate does not tell its issuer's key identifier")
    serial = certificate.serial_number
    encoded = serial.to_bytes(serial.bit_length() // 8 + 1, "big")  # a positive ASN.1 INTEGER keeps its sign bit free
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (extension.key_identifier, encoded)
    )


def self_signed(names: Sequence[str], kind: KeyKind, *, life: timedelta, now: datetime | None = None) -> Pair:
    """A pair that vouches for itself: a placeholder, or what the issuer `selfSigned` gives."""
    key = kind.generate()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-lego self-signed")])
    builder = leaf_builder(subject, subject, key, names, life=life, now=now or datetime.now(UTC))
    return Pair((builder.sign(key, hashes.SHA256()),), key)


def leaf_builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, names: Sequence[str], *, life: timedelta, now: datetime
) -> x509.CertificateBuilder:
    """A server's certificate, but for the signature."""
    usage = x509.KeyUsage(
        digital_signature=True,
        key_encipherment=isinstance(key, rsa.RSAPrivateKey),
        key_cert_sign=False,
        crl_sign=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(general_names(names), critical=False)
    )


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"serial {certificate.serial_number:x}"
