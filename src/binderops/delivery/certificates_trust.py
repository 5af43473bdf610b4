"""`trust`: an environment's local CA, shown, and put into this machine's store or taken out of it.

Besides, what our own requests to an environment trust: what this machine does, and the environment's local CA.
"""

from __future__ import annotations

import ssl
from datetime import datetime
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from binderops.delivery.certificates import local_authority
from binderops.delivery.certificates_store import TrustStore
from binderops.delivery.results import Result
from binderops.delivery.served import Served
from binderops.delivery.workspace import Workspace
from binderops.errors import DeliveryError
from binderops.kube import certificates as names
from binderops.kube.client import Client
from binderops.target.protocol import Access

Stored = Literal["shown", "installed", "was installed", "removed", "was not installed"]


class AuthorityResult(Result):
    """A local CA: who it is, and which names it may sign for (none told: any). `fingerprint` is SHA-256."""

    subject: str
    fingerprint: str
    not_after: datetime
    domains: tuple[str, ...]
    pem: str


class TrustResult(Result):
    """What was done with an environment's local CA; `path` is its place in this machine's store."""

    environment: str
    done: Stored
    path: str
    authority: AuthorityResult | None = None


async def trust(workspace: Workspace, *, install: bool, store: TrustStore) -> TrustResult:
    """The CA of a running environment; with `install` this machine trusts it afterwards. Raises DeliveryError."""
    access, namespace = workspace.target.access(), workspace.environment.namespace
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        pem = await local_authority(client, namespace)
    if pem is None:
        raise DeliveryError(
            f"{workspace.name} has no local CA",
            where=f"Secret {names.AUTHORITY_SECRET} in namespace {namespace}",
            why="kube-lego makes it when an issuer of type `ca` signs its first certificate",
            hint="docs/operate/certificates.md, Issuers",
        )
    done: Stored = "shown"
    if install:
        done = "installed" if await store.install(workspace.name, pem) else "was installed"
    return TrustResult(
        environment=workspace.name, done=done, path=str(store.file(workspace.name)), authority=described(pem)
    )


async def distrust(environment: str, *, store: TrustStore) -> TrustResult:
    """This machine trusts the environment's CA no longer, whether or not the environment still is."""
    done: Stored = "removed" if await store.remove(environment) else "was not installed"
    return TrustResult(environment=environment, done=done, path=str(store.file(environment)))


async def trust_of(served: Served, access: Access) -> ssl.SSLContext | None:
    """What a client of an environment's public names trusts; None where it serves no TLS."""
    if not served.public.public_tls_port:
        return None
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        pem = await local_authority(client, served.namespace)
    context = ssl.create_default_context()
    if pem is not None:
        context.load_verify_locations(cadata=pem)
    return context


def described(pem: str) -> AuthorityResult:
    """What a CA's certificate says about itself."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    digest = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    return AuthorityResult(
        subject=certificate.subject.rfc4514_string(),
        fingerprint=digest,
        not_after=certificate.not_valid_after_utc,
        domains=_domains(certificate),
        pem=pem,
    )


def _domains(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        constraint = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(each.value for each in constraint.permitted_subtrees or () if isinstance(each, x509.DNSName))
