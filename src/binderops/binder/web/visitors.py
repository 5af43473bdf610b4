"""Who asks: addresses, hosts and origins of a request. What proxies add is believed only from those we know (peers)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from starlette.requests import HTTPConnection

from binderops.binder.settings import Settings


def _peer(request: HTTPConnection) -> str:
    return request.client.host if request.client else ""


def _is_proxied(request: HTTPConnection) -> bool:
    """Whether the peer is a proxy that is believed."""
    return _peer(request) in request.app.state.binder.peers


def _last(value: str) -> str:
    """The part of a list header that the nearest proxy wrote: the ones before it are the visitor's own claims."""
    return value.rpartition(",")[2].strip()


def client_address(request: HTTPConnection) -> str:
    """The visitor's address."""
    peer = _peer(request)
    if not _is_proxied(request):
        return peer
    given = request.headers.get("x-real-ip", "") or _last(request.headers.get("x-forwarded-for", ""))
    try:
        return str(ipaddress.ip_address(given))
    except ValueError:
        return peer


def scheme(request: HTTPConnection) -> str:
    """Http or https, as the visitor's browser sees it."""
    if _is_proxied(request):
        given = _last(request.headers.get("x-scheme", "") or request.headers.get("x-forwarded-proto", "")).lower()
        if given in {"http", "https"}:
            return given
    return "https" if request.url.scheme == "https" else "http"


def host(request: HTTPConnection) -> str:
    """`host[:port]` as the browser asked for it."""
    return request.headers.get("host", "")


def origin(request: HTTPConnection) -> str:
    """The site that a request comes from: what a page's token is bound to."""
    given = request.headers.get("origin", "")
    return given.partition("://")[2] if "://" in given else host(request)


def public_url(request: HTTPConnection, settings: Settings) -> str:
    """This binder's own address, with a slash at its end."""
    return f"{scheme(request)}://{host(request)}{settings.binder.base_url}"


class Bans:
    """Networks whose visitors are not served, and why."""

    def __init__(self, networks: Mapping[str, str]) -> None:
        self._networks = [(ipaddress.ip_network(network), label) for network, label in networks.items()]

    def label_for(self, address: str) -> str | None:
        """The label of the network that bans this address, or None."""
        if not self._networks:
            return None
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return None
        return next((label for network, label in self._networks if parsed in network), None)
