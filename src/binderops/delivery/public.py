"""A client that reaches an environment by its public names, as a browser would.

Browsers resolve `*.localhost` to this machine by themselves; Python does not on Debian. So names below `.localhost`
are connected to on 127.0.0.1, with the Host header (and, for TLS, the server name) that the URL says.
"""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import httpx

LOOPBACK = "127.0.0.1"


def is_loopback_name(host: str) -> bool:
    """Whether a name means this machine by RFC 6761, section 6.3."""
    return host == "localhost" or host.endswith(".localhost")


class _LoopbackTransport(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if is_loopback_name(host):
            # httpx set the Host header from the URL when the request was built; only the connection goes elsewhere.
            request.extensions = {**request.extensions, "sni_hostname": host}
            request.url = request.url.copy_with(host=LOOPBACK)
        return await super().handle_async_request(request)


def public_client(*, trust: ssl.SSLContext | None = None, timeout: float = 30) -> httpx.AsyncClient:
    """An httpx client for public addresses; follows redirects, ignores proxy variables.

    `trust` says which CAs count; the usual ones where it is None.
    """
    return httpx.AsyncClient(
        transport=_LoopbackTransport(verify=True if trust is None else trust, retries=0),
        timeout=httpx.Timeout(timeout, read=None if timeout <= 0 else timeout),
        follow_redirects=True,
        trust_env=False,
    )


def connect_address(url: str) -> tuple[str, int]:
    """Host and port to open a socket to for a URL."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme in {"https", "wss"} else 80)
    return (LOOPBACK if is_loopback_name(host) else host), port
