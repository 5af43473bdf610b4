"""The node's certificates: one CA, and what it signs. Made at the first start, renewed at a start near their end.

Files in `STATE/nodes/NAME/pki` (0600 in a 0700 folder), NAME.crt and NAME.key each:

    ca                         signs all others; its bundle is what pods get as ca.crt
    apiserver                  the API's serving certificate
    admin                      user kubernetes-admin, group system:masters: the operator's kubeconfig
    node                       user system:node:NAME, group binderops:node: controllers, pods, network, dns
    kubelet                    the kubelet endpoint's serving certificate
    apiserver-kubelet-client   user kube-apiserver-kubelet-client: the only one whom the kubelet endpoint obeys
    sa.key                     signs ServiceAccount tokens (ES256)
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from binderops.errors import StateError
from binderops.node.clock import VALID_FROM, at_least
from binderops.node.config import NodeConfig
from binderops.node.files import write_whole

KUBELET_CLIENT = "kube-apiserver-kubelet-client"
NODE_GROUP = "binderops:node"
ADMIN_USER = "kubernetes-admin"
ADMIN_GROUP = "system:masters"

_CA_LIFE = timedelta(days=3650)
_LEAF_LIFE = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=90)


class _Leaf(NamedTuple):
    """What one certificate is to say."""

    file: str
    user: str
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class _Pair(NamedTuple):
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure_pki(config: NodeConfig, *, now: datetime | None = None) -> None:
    """Make what is missing, near its end, or for other addresses than the node has now.

    Raises StateError when a file of the CA cannot be read: a new CA would cut off every pod, so none is made unasked;
    OSError when the disk takes no write: what was made until then is kept, and gone on with the next time.
    """
    told = now or datetime.now(UTC)
    moment = at_least(told, config.pki / "ca.crt")
    config.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = _ensure_authority(config, moment)
    # Whose clock is wrong does not know when a year is over: the clock may be put right while this process runs.
    end = moment + _LEAF_LIFE if moment == told else authority.certificate.not_valid_after_utc
    for leaf in _leaves(config):
        if not _is_current(config.pki, leaf, authority, moment):
            _write_pair(config.pki, leaf.file, _issue(leaf, authority, end))
    if not (config.pki / "sa.key").exists():
        write_whole(config.pki / "sa.key", _key_text(ec.generate_private_key(ec.SECP256R1())))


def ca_certificate(config: NodeConfig) -> str:
    """The CA's certificate as PEM text."""
    return (config.pki / "ca.crt").read_text(encoding="ascii")


def _leaves(config: NodeConfig) -> tuple[_Leaf, ...]:
    serving = {config.api_address, "127.0.0.1", "::1", config.bridge_address, config.kubernetes_service_address}
    serving -= {"0.0.0.0", "::"}
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    names = ("localhost", *service, f"kubernetes.default.svc.{config.cluster_domain}")
    return (
        _Leaf("apiserver", "kube-apiserver", addresses=tuple(sorted(serving)), names=names),
        _Leaf("admin", ADMIN_USER, (ADMIN_GROUP,)),
        _Leaf("node", f"system:node:{config.name}", (NODE_GROUP,)),
        _Leaf("kubelet", "kubelet", addresses=(config.bridge_address,), names=(config.name, "localhost")),
        _Leaf("apiserver-kubelet-client", KUBELET_CLIENT),
    )


def _ensure_authority(config: NodeConfig, now: datetime) -> _Pair:
    if _was_made(config):
        try:
            authority = _read_pair(config.pki, "ca")
            if authority.certificate.public_key() != authority.key.public_key():
                raise ValueError("ca.key is not the key of ca.crt")
        except (OSError, ValueError, TypeError) as error:
            raise StateError(
                "the node's CA cannot be read",
                where=str(config.pki / "ca.crt"),
                why=str(error),
                hint="restore both ca files from a backup, or remove the node",
            ) from error
        return authority
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"binderops-node-{config.name}")])
    builder = _builder(name, name, key.public_key(), now + _CA_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    authority = _Pair(builder.sign(key, hashes.SHA256()), key)
    (config.pki / "ca.crt").unlink(missing_ok=True)  # of a half that is made anew: it must not meet another key
    _write_pair(config.pki, "ca", authority)
    return authority


def _was_made(config: NodeConfig) -> bool:
    """Whether there is a CA. Half of one that signed nothing is what a crash or a full disk left of the first start."""
    halves = [(config.pki / name).exists() for name in ("ca.crt", "ca.key")]
    signed = any((config.pki / f"{leaf.file}.crt").exists() for leaf in _leaves(config))
    return all(halves) or signed or config.store.exists()


def _issue(leaf: _Leaf, authority: _Pair, end: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in leaf.groups]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, leaf.user)])
    builder = _builder(subject, authority.certificate.subject, key.public_key(), end)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    serves = bool(leaf.addresses or leaf.names)
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if serves else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    if serves:
        builder = builder.add_extension(_alternative_names(leaf), critical=False)
    return _Pair(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(VALID_FROM)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(leaf: _Leaf) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in leaf.names]
    names += [x509.IPAddress(ip_address(address)) for address in leaf.addresses]
    return x509.SubjectAlternativeName(names)


def _is_current(folder: Path, leaf: _Leaf, authority: _Pair, now: datetime) -> bool:
    try:
        certificate, key = _read_pair(folder, leaf.file)
        certificate.verify_directly_issued_by(authority.certificate)
    except Exception:  # missing, cut short, of another CA: whatever it is, a new one cures it
        return False
    if certificate.not_valid_after_utc - now < _RENEW_BEFORE or certificate.not_valid_before_utc > now:
        return False
    if certificate.public_key() != key.public_key() or _subject(certificate) != (leaf.user, leaf.groups):
        return False
    return not (leaf.addresses or leaf.names) or _names_of(certificate) == {*leaf.addresses, *leaf.names}


def _subject(certificate: x509.Certificate) -> tuple[str, tuple[str, ...]]:
    def values(oid: x509.ObjectIdentifier) -> Iterable[str]:
        return (str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(oid))

    return next(iter(values(NameOID.COMMON_NAME)), ""), tuple(values(NameOID.ORGANIZATION_NAME))


def _names_of(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    names = set(extension.get_values_for_type(x509.DNSName))
    return names | {str(address) for address in extension.get_values_for_type(x509.IPAddress)}


def _read_pair(folder: Path, name: str) -> _Pair:
    certificate = x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())
    key = serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{name}.key is not an elliptic-curve key")
    return _Pair(certificate, key)


def _write_pair(folder: Path, name: str, pair: _Pair) -> None:
    write_whole(folder / f"{name}.key", _key_text(pair.key))
    write_whole(folder / f"{name}.crt", pair.certificate.public_bytes(serialization.Encoding.PEM))


def _key_text(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())
