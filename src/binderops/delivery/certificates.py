"""`certificates`: what stands behind each name that an environment serves over TLS. Reads public parts alone.

`reports` is pure: objects of the API go in. Private keys are never looked at, and nothing of a Secret but its
certificates and annotations is kept.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import computed_field

from binderops.delivery.results import Result
from binderops.delivery.workspace import Workspace
from binderops.errors import NotFoundError
from binderops.kube import certificates as names
from binderops.kube.client import Client
from binderops.kube.kinds import INGRESS, SECRET
from binderops.kube.objects import annotations_of, key_of, labels_of, name_of, parse_timestamp, spec_of

_SECONDS_A_DAY = 86400


class CertificateReport(Result):
    """One Secret that Ingresses name. `state` is valid, expired, placeholder, missing or unreadable; times are UTC."""

    secret: str
    ingresses: tuple[str, ...]
    names: tuple[str, ...]
    state: str
    issuer: str
    """The declared issuer's name; of a Secret that others made, who signed its certificate."""
    ours: bool
    not_after: datetime | None = None
    days_left: float | None = None
    next_renewal: datetime | None = None
    renewal_window: str | None = None
    missing_names: tuple[str, ...] = ()
    failures: int = 0
    last_error: str | None = None
    next_attempt: datetime | None = None


class CertificatesResult(Result):
    """All certificates of a namespace, the one that needs somebody first before the others."""

    namespace: str
    certificates: tuple[CertificateReport, ...]

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own way: a property that is dumped
    @property
    def good(self) -> bool:
        """Whether each is valid, covers its names, and its last renewal worked."""
        return all(_is_good(each) for each in self.certificates)


async def environment_certificates(workspace: Workspace) -> CertificatesResult:
    """The certificates of a running environment; raises TargetError or KubernetesError where it does not answer."""
    access, namespace = workspace.target.access(), workspace.environment.namespace
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        return await certificates(client, namespace)


async def certificates(client: Client, namespace: str) -> CertificatesResult:
    """The certificates of one namespace, by what its Ingresses name."""
    ingresses = (await client.list(INGRESS, namespace)).items
    wanted = sorted({name for ingress in ingresses for name, _ in _blocks(ingress)})
    secrets: dict[str, Mapping[str, Any]] = {}
    for name in wanted:
        try:
            secrets[name] = _public(await client.get(SECRET, name, namespace))
        except NotFoundError:
            continue
    found = reports(ingresses, secrets, now=datetime.now(UTC))
    return CertificatesResult(namespace=namespace, certificates=found)


async def local_authority(client: Client, namespace: str) -> str | None:
    """The local CA's certificate as PEM text, for whoever is to trust it; None where no local CA was made."""
    try:
        secret = await client.get(SECRET, names.AUTHORITY_SECRET, namespace)
    except NotFoundError:
        return None
    chain = _chain(secret)
    return _pem(chain[0]) if chain else None


def reports(
    ingresses: Iterable[Mapping[str, Any]], secrets: Mapping[str, Mapping[str, Any]], *, now: datetime
) -> tuple[CertificateReport, ...]:
    """One report for each Secret that an Ingress of the namespace names; `secrets` by name."""
    hosts: dict[str, set[str]] = {}
    askers: dict[str, list[str]] = {}
    for ingress in sorted(ingresses, key=key_of):
        for secret_name, block in _blocks(ingress):
            hosts.setdefault(secret_name, set()).update(block)
            askers.setdefault(secret_name, []).append(name_of(ingress))
    made = (
        _report(name, secrets.get(name), sorted(hosts[name]), tuple(dict.fromkeys(askers[name])), now)
        for name in sorted(hosts)
    )
    return tuple(sorted(made, key=lambda each: (_is_good(each), each.secret)))


def _report(
    name: str, secret: Mapping[str, Any] | None, hosts: Sequence[str], ingresses: tuple[str, ...], now: datetime
) -> CertificateReport:
    if secret is None:
        return CertificateReport(
            secret=name, ingresses=ingresses, names=tuple(hosts), state="missing", issuer="", ours=False
        )
    annotations, chain = annotations_of(secret), _chain(secret)
    leaf = chain[0] if chain else None
    placeholder = names.PLACEHOLDER in annotations
    end = leaf.not_valid_after_utc if leaf is not None and not placeholder else None
    held = _held(leaf) if leaf is not None else frozenset()
    attempts = annotations.get(names.FAILURES, "0")
    return CertificateReport(
        secret=name,
        ingresses=ingresses,
        names=tuple(hosts),
        state=_state(leaf, placeholder, now),
        issuer=annotations.get(names.ISSUER_NAME) or ("" if leaf is None or placeholder else _signer(leaf)),
        ours=labels_of(secret).get(names.MANAGED_BY) == names.KUBE_LEGO,
        not_after=end,
        days_left=round((end - now).total_seconds() / _SECONDS_A_DAY, 2) if end else None,
        next_renewal=_moment(annotations.get(names.RENEW_AT)) if end else None,
        renewal_window=annotations.get(names.ARI_WINDOW),
        missing_names=tuple(host for host in hosts if not _covers(held, host)),
        failures=int(attempts) if attempts.isdecimal() else 0,
        last_error=annotations.get(names.LAST_ERROR),
        next_attempt=_moment(annotations.get(names.NEXT_ATTEMPT)),
    )


def _blocks(ingress: Mapping[str, Any]) -> list[tuple[str, set[str]]]:
    """(Secret, hosts) of each `spec.tls` element that names a Secret."""
    blocks = spec_of(ingress).get("tls") or []
    return [
        (str(block["secretName"]), {str(host).lower() for host in block.get("hosts") or []})
        for block in blocks
        if block.get("secretName")
    ]


def _public(secret: Mapping[str, Any]) -> dict[str, Any]:
    """A Secret without what is secret in it."""
    data = {"tls.crt": (secret.get("data") or {}).get("tls.crt", "")}
    return {"metadata": secret.get("metadata"), "data": data}


def _chain(secret: Mapping[str, Any]) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(base64.b64decode((secret.get("data") or {}).get("tls.crt") or ""))
    except ValueError:
        return []


def _state(leaf: x509.Certificate | None, placeholder: bool, now: datetime) -> str:
    if leaf is None:
        return "unreadable"
    if placeholder:
        return "placeholder"
    return "valid" if leaf.not_valid_after_utc > now else "expired"


def _held(leaf: x509.Certificate) -> frozenset[str]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    addresses = {str(address) for address in extension.get_values_for_type(x509.IPAddress)}
    return frozenset({name.lower() for name in extension.get_values_for_type(x509.DNSName)} | addresses)


def _covers(held: frozenset[str], host: str) -> bool:
    return host in held or f"*.{host.partition('.')[2]}" in held


def _signer(leaf: x509.Certificate) -> str:
    return leaf.issuer.rfc4514_string()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _moment(text: str | None) -> datetime | None:
    try:
        return parse_timestamp(text) if text else None
    except ValueError:
        return None


def _is_good(report: CertificateReport) -> bool:
    return report.state == "valid" and not report.missing_names and not report.failures
