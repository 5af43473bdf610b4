"""The TLS lines of nginx.conf: protocols and ciphers, certificates, the redirect to https, HSTS.

Protocols, ciphers, curves and session cache are Mozilla's intermediate profile, version 5.7, without its DHE ciphers
(they want a parameter file, and are for clients of before 2014). OCSP is left out: CAs end it (Let's Encrypt in 2025).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from binderops.ingress.annotations import Options

_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
_CURVES = ("X25519", "prime256v1", "secp384r1")
CHALLENGE_PATH = "/.well-known/acme-challenge/"


class TlsSettings(Protocol):
    """What is needed of the settings; `public_tls_port` is the one that browsers see."""

    @property
    def public_tls_port(self) -> int: ...
    @property
    def ssl_protocols(self) -> str: ...
    @property
    def hsts_max_age(self) -> int: ...
    @property
    def hsts_include_subdomains(self) -> bool: ...


def head(settings: TlsSettings, default: tuple[Path, ...]) -> Iterator[str]:
    """Lines of the http block; `default` serves every name that has no certificate of its own."""
    yield f"  ssl_protocols {settings.ssl_protocols};"
    yield f"  ssl_ciphers {':'.join(_CIPHERS)};"
    yield f"  ssl_ecdh_curve {':'.join(_CURVES)};"
    yield "  ssl_prefer_server_ciphers off;"
    yield "  ssl_session_cache shared:tls:10m;"
    yield "  ssl_session_timeout 1d;"
    # nginx 1.22 never changes the key of its tickets: whoever gets it reads all that was said before.
    yield "  ssl_session_tickets off;"
    yield from (f"  {line}" for line in certificates(default))
    # Plain http sent to the TLS port; $host is checked by nginx, $http_host would be what the client wrote.
    yield f"  error_page 497 =308 {_address(settings)};"
    # An ACME server asks by http; the path is the normalised one, so that no /../ leads out of the exception.
    yield f'  map "$scheme $uri" $to_https {{ default 0; "~^http (?!{CHALLENGE_PATH.replace(".", "[.]")})" 1; }}'
    subdomains = "; includeSubDomains" if settings.hsts_include_subdomains else ""
    yield f'  map $https $hsts {{ default ""; on "max-age={settings.hsts_max_age}{subdomains}"; }}'


def certificates(files: tuple[Path, ...]) -> Iterator[str]:
    """The directives for a server's certificates: each file holds a chain and its key."""
    for path in files:
        yield f'ssl_certificate "{path}";'
        yield f'ssl_certificate_key "{path}";'


def location(settings: TlsSettings, options: Options, *, has_tls: bool) -> Iterator[str]:
    """The lines of one location: the redirect of what came by http, and HSTS on what came by TLS."""
    if options.force_ssl_redirect or (has_tls and options.ssl_redirect):
        yield f"if ($to_https) {{ return 308 {_address(settings)}; }}"
    if has_tls and options.hsts:
        yield "proxy_hide_header Strict-Transport-Security;"
        yield "add_header Strict-Transport-Security $hsts always;"


def _address(settings: TlsSettings) -> str:
    port = "" if settings.public_tls_port == 443 else f":{settings.public_tls_port}"
    return f"https://$host{port}$request_uri"
