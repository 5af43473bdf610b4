"""What the chart hands over: the issuers that Ingresses may ask for, and how the controller runs.

The default issuer is kube-lego's: ACME, by LEGO_URL and LEGO_EMAIL. Others are declared in a file (chart: `issuers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from binderops.errors import UsageError

LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
DEFAULT_ISSUER = "default"


class ExternalAccount(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True):
    """External account binding (RFC 8555 7.3.4): an identifier, and the Secret (key `secret`) with the HMAC key."""

    key_id: str
    secret_name: str


class Issuer(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True):
    """Who signs. `domains` is for `ca`; all else for `acme`."""

    type: Literal["acme", "ca", "selfSigned", "external"] = "acme"
    server: str = ""
    email: str = ""
    external_account: ExternalAccount | None = None
    preferred_chain: str = ""
    profile: str = ""
    domains: tuple[str, ...] = ()
    name: str = ""


class Settings(msgspec.Struct, frozen=True):
    """The whole; `namespace` is the controller's own, `watch_namespace` None means all."""

    issuers: Mapping[str, Issuer]
    namespace: str
    identity: str
    default_issuer: str = DEFAULT_ISSUER
    watch_namespace: str | None = None
    classes: tuple[str, ...] = ()
    """Ingress classes that are served; none: all."""
    solver_address: str = "127.0.0.1"
    """Where the ingress controller reaches the solver: this pod's address."""
    port: int = 8080
    self_check_address: str = ""
    """HOST:PORT that self-checks connect to instead of each host's own port 80 (for tests, and for odd networks)."""
    self_check_passes: int = 3
    self_check_seconds: float = 20.0
    """How long a self-check may take: an ingress controller needs a moment to serve a new path."""
    concurrency: int = 20
    """Orders at once."""
    lease_seconds: float = 15.0


def read_issuers(environment: Mapping[str, str], file: Path | None) -> dict[str, Issuer]:
    """The default issuer by LEGO_URL and LEGO_EMAIL, and those of `file` ({name: issuer}).

    Raises UsageError naming the issuer and key that is wrong.
    """
    declared: object = {}
    if file is not None:
        try:
            declared = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise UsageError("the issuers cannot be read", where=str(file), why=str(error)) from error
    try:
        issuers = msgspec.convert(declared, dict[str, Issuer])
    except msgspec.ValidationError as error:
        raise UsageError("an issuer is not declared as it should be", where=str(file), why=str(error)) from error
    server, email = environment.get("LEGO_URL") or LETS_ENCRYPT_STAGING, environment.get("LEGO_EMAIL", "")
    issuers.setdefault(DEFAULT_ISSUER, Issuer(type="acme", server=server, email=email))
    named = {name: msgspec.structs.replace(issuer, name=name) for name, issuer in issuers.items()}
    for name, issuer in named.items():
        if issuer.type == "acme" and not issuer.server.startswith("https://"):
            raise UsageError(
                f"the issuer {name} has no server",
                where=str(file) if file else "LEGO_URL",
                why=f"{issuer.server!r} is not the https:// address of an ACME directory",
            )
    return named
