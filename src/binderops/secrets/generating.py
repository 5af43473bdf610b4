"""Which secrets a deployment needs, in which form, and how they are made.

Paths are values of the charts. What a sealed file does not give, the chart generates at install, each release its own;
sealed values survive a lost cluster, and can be rotated on purpose.
"""

from __future__ import annotations

import secrets as randomness
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from binderops.secrets.values import ClearText
from binderops.secrets.writing import Change, KeyPath, json_value

_HEX_BYTES = 32
_SIGNING_DAYS = 3650


@dataclass(frozen=True)
class Needed:
    """One secret: its value path, what it is for, and which apps restart when it changes."""

    path: KeyPath
    purpose: str
    form: str
    restarts: tuple[str, ...]
    effect: str = ""


_HEX = "64 hexadecimal digits (256 bits)"
_BINDERHUB = ("binderhub",)
_HUB = ("binderhub", "jupyterhub", "hub")
_SIGNING = ("binderhub", "registryServer", "tokenSigning")
_CERTIFICATE, _KEY = (*_SIGNING, "certificate"), (*_SIGNING, "key")


def needed_secrets(values: Mapping[str, Any]) -> tuple[Needed, ...]:
    """What the enabled components need; `values` are the chart's defaults with the clear layers over them."""
    return tuple(_needed(values))


def _needed(values: Mapping[str, Any]) -> Iterator[Needed]:
    if not _at(values, ("binderhubEnabled",), True):
        return
    yield Needed(
        ("binderhub", "jupyterhub", "proxy", "secretToken"),
        "between the hub and its proxy",
        _HEX,
        ("proxy", "hub"),
        "running servers stay, new connections wait for some seconds",
    )
    yield Needed((*_HUB, "cookieSecret"), "signs login cookies", _HEX, ("hub",), "everybody logs in again")
    yield Needed(
        (*_HUB, "config", "CryptKeeper", "keys"),
        "encrypts what the hub stores of its users",
        f"a list of one: {_HEX}",
        ("hub",),
        "what was stored under the old key is lost, unless the old key stays second in the list",
    )
    for service in _at(values, (*_HUB, "services"), {}) or {}:
        yield Needed(
            (*_HUB, "services", str(service), "apiToken"),
            f"the service {service} at the hub",
            _HEX,
            ("hub", "binder") if service == "binder" else ("hub",),
        )
    yield Needed(
        ("binderhub", "config", "BinderHub", "build_token_secret"),
        "signs the tokens of launch pages",
        _HEX,
        ("binder",),
        "pages that are open must be loaded again",
    )
    yield Needed((*_BINDERHUB, "localToken"), "uploads to the provider local", _HEX, ("binder",))
    if _at(values, ("binderhub", "registryServer", "enabled"), True):
        yield Needed(
            ("binderhub", "registryServer", "pullPassword"),
            "machines pull users' images by it",
            _HEX,
            ("binder",),
            "the pull Secret changes in the same release",
        )
        pair = "an elliptic key pair (P-256) in PEM"
        yield Needed(_CERTIFICATE, "verifies registry tokens", pair, ("registry", "binder"), "made with its key")
        yield Needed(_KEY, "signs registry tokens", pair, ("registry", "binder"), "builds that run start again")


def generate(needed: Needed, *, now: datetime) -> list[Change]:
    """New values for one secret; the two halves of a pair are made together."""
    if needed.path in (_CERTIFICATE, _KEY):
        return signing_pair(now)
    return [(needed.path, _maker(needed)())]


def signing_pair(now: datetime) -> list[Change]:
    """A self-signed certificate and its key, ten years: a release's life."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "binder")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Good by a clock that starts at nothing, too: the registry asks its machine's.
        .not_valid_before(datetime(1970, 1, 1, tzinfo=UTC))
        .not_valid_after(now.astimezone(UTC) + timedelta(days=_SIGNING_DAYS))
        .sign(key, hashes.SHA256())
    )
    return [
        (_CERTIFICATE, json_value(certificate.public_bytes(Encoding.PEM).decode())),
        (_KEY, json_value(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode())),
    ]


def random_text() -> ClearText:
    """64 hexadecimal digits, as JSON."""
    return json_value(randomness.token_hex(_HEX_BYTES))


def _maker(needed: Needed) -> Callable[[], ClearText]:
    if needed.path[-2:] == ("CryptKeeper", "keys"):
        return lambda: json_value([randomness.token_hex(_HEX_BYTES)])
    return random_text


def _at(values: Mapping[str, Any], path: KeyPath, default: Any) -> Any:
    current: Any = values
    for part in path:
        if not isinstance(current, Mapping) or part not in current:
            return default
        current = current[part]
    return current
