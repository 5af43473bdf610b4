"""A certificate authority of the tests' own, and TLS clients that look at what they are served."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Object = dict[str, Any]
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def key_pem(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


class Authority:
    """A root, an intermediate below it, and leaves."""

    def __init__(self) -> None:
        self.root_key, self.middle_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.root = self._sign("root", self.root_key.public_key(), "root", self.root_key, ca=True)
        self.middle = self._sign("middle", self.middle_key.public_key(), "root", self.root_key, ca=True)

    def issue(self, *hosts: str, key: Key | None = None, days: tuple[int, int] = (-1, 30)) -> tuple[bytes, bytes]:
        """A chain (leaf, intermediate) and a key, in PEM."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        leaf = self._sign("leaf", key.public_key(), "middle", self.middle_key, hosts=hosts, days=days)
        return b"".join(found.public_bytes(Encoding.PEM) for found in (leaf, self.middle)), key_pem(key)

    def trust(self) -> ssl.SSLContext:
        """A client that trusts the root alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.root.public_bytes(Encoding.PEM).decode())
        return context

    def _sign(
        self,
        name: str,
        public: Any,
        issuer: str,
        key: Any,
        *,
        ca: bool = False,
        hosts: Sequence[str] = (),
        days: tuple[int, int] = (-1, 30),
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), False)
        return builder.sign(key, hashes.SHA256())


def secret(name: str, pair: tuple[bytes, bytes], *, version: int = 1, namespace: str = "test") -> Object:
    """A Secret of type kubernetes.io/tls."""
    metadata = {"name": name, "namespace": namespace, "resourceVersion": str(version)}
    data = {key: base64.b64encode(text).decode() for key, text in zip(("tls.crt", "tls.key"), pair, strict=True)}
    return {"metadata": metadata, "type": "kubernetes.io/tls", "data": data}


def served_names(
    port: int, host: str, *, ciphers: str | None = None, version: ssl.TLSVersion | None = None
) -> list[str]:
    """The names in the certificate that a client which asks for `host` gets, whoever issued it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if ciphers is not None:
        context.set_ciphers(ciphers)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        der = wrapped.getpeercert(binary_form=True)
    assert der is not None
    found = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return list(found.value.get_values_for_type(x509.DNSName))
