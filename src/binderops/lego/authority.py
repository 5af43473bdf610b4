"""The local CA: for laptops, where no public CA can reach the hosts. Its certificate is to be trusted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from binderops.lego.pairs import BACKDATED, KeyKind, Pair, is_address, leaf_builder

AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=90)


def make_authority(domains: Sequence[str] = (), *, now: datetime | None = None) -> Pair:
    """A new CA. With `domains` it can speak for these and what stands below them only (RFC 5280 4.2.1.10).

    Who trusts it on a laptop trusts it for those domains alone, should its key ever leave the machine.
    """
    moment = now or datetime.now(UTC)
    key = KeyKind().generate()
    title = f"BinderOps local CA {moment:%Y-%m-%d}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    usage = x509.KeyUsage(
        digital_signature=False,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - BACKDATED)
        .not_valid_after(moment + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if domains:
        constraint = x509.NameConstraints([x509.DNSName(domain) for domain in domains], None)
        builder = builder.add_extension(constraint, critical=True)
    return Pair((builder.sign(key, hashes.SHA256()),), key)


def outside(authority: Pair, names: Sequence[str]) -> list[str]:
    """The names that the CA may not speak for, by its own constraint."""
    try:
        constraint = authority.leaf.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return []
    permitted = [entry.value for entry in constraint.permitted_subtrees or () if isinstance(entry, x509.DNSName)]
    bare = {name: name.removeprefix("*.") for name in names}
    return [
        name
        for name in names
        if is_address(name) or not any(bare[name] == each or bare[name].endswith(f".{each}") for each in permitted)
    ]


def issue(authority: Pair, names: Sequence[str], kind: KeyKind, *, now: datetime | None = None) -> Pair:
    """A certificate for `names` with a new key, signed by the CA; the chain ends below the CA itself."""
    moment = now or datetime.now(UTC)
    key = kind.generate()
    # An empty subject is allowed where names are critical; a name that people can read helps them more.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, sorted(names)[0][:64])])
    life = min(LEAF_LIFE, authority.leaf.not_valid_after_utc - moment)
    builder = leaf_builder(subject, authority.leaf.subject, key, names, life=life, now=moment)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    signed = builder.add_extension(identifier, critical=False).sign(authority.key, hashes.SHA256())
    return Pair((signed,), key)
