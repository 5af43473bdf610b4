"""The annotations that are honoured: an allow-list of typed values, parsed here and written again by our own quoting.

No snippets, no regular expressions, no outside URLs: an Ingress may be written by somebody whom the operator does not
trust, and a raw value in nginx.conf is code (CVE-2025-1974 and its kin). What is not in the list is named in an Event.
An annotation that should guard an Ingress and is not understood closes it: the alternative is an open door.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from binderops.ingress import values
from binderops.ingress.values import Network

PREFIXES = ("nginx.ingress.kubernetes.io/", "ingress.kubernetes.io/")
_GUARDS = ("auth-", "whitelist-", "allowlist-", "denylist-", "enable-global-auth", "enable-modsecurity")


@dataclass(frozen=True)
class Options:
    """What annotations can set for the paths of one Ingress. Timeouts in seconds, sizes in MiB (0: no limit)."""

    proxy_body_size: int = 64
    proxy_connect_timeout: int = 5
    proxy_read_timeout: int = 3600
    proxy_send_timeout: int = 3600
    proxy_buffering: bool = False
    proxy_request_buffering: bool = False
    ssl_redirect: bool = True
    force_ssl_redirect: bool = False
    hsts: bool = False
    whitelist_source_range: tuple[Network, ...] = ()
    closed: bool = False  # nobody is let in: no annotation of its own, but what a guard that failed leads to
    limit_connections: int = 0
    limit_rps: int = 0
    enable_cors: bool = False
    backend_protocol: str = "HTTP"


DEFAULT_OPTIONS = Options()


@dataclass(frozen=True)
class Refusal:
    """An annotation that is not honoured, and why."""

    annotation: str
    why: str


def parse_annotations(
    annotations: Mapping[str, str], defaults: Options = DEFAULT_OPTIONS
) -> tuple[Options, list[Refusal]]:
    """The options that an Ingress sets over the controller's defaults, and what of its annotations is not honoured."""
    options, refusals = defaults, []
    for prefix in reversed(PREFIXES):  # the newer prefix wins where both are there
        for key, value in sorted(annotations.items()):
            if not key.startswith(prefix):
                continue
            name = key.removeprefix(prefix)
            try:
                options = replace(options, **_parse(name, str(value)))
            except ValueError as error:
                guard = name.startswith(_GUARDS)
                options = replace(options, closed=options.closed or guard)
                refusals.append(Refusal(key, f"{error}{'; nobody is let in until it is gone' if guard else ''}"))
    return options, refusals


def _parse(name: str, value: str) -> dict[str, Any]:
    parser = PARSERS.get(name)
    if parser is None:
        raise ValueError("it is not supported")
    return {name.replace("-", "_"): parser(value)}


PARSERS: dict[str, Callable[[str], Any]] = {
    "proxy-body-size": values.mebibytes,
    "proxy-connect-timeout": values.seconds,
    "proxy-read-timeout": values.seconds,
    "proxy-send-timeout": values.seconds,
    "proxy-buffering": values.boolean,
    "proxy-request-buffering": values.boolean,
    "ssl-redirect": values.boolean,
    "force-ssl-redirect": values.boolean,
    "hsts": values.boolean,
    "whitelist-source-range": values.networks,
    "limit-connections": values.count,
    "limit-rps": values.count,
    "enable-cors": values.boolean,
    "backend-protocol": values.one_of("HTTP"),
}

SUPPORTED = tuple(sorted(PARSERS))
assert {name.replace("-", "_") for name in PARSERS} | {"closed"} == {field.name for field in fields(Options)}
