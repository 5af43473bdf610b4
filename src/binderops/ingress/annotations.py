"""The annotations that are honoured: an allow-list of typed values, parsed here and written again by our own quoting.

No snippets, no regular expressions, no outside URLs: an Ingress may be written by somebody whom the operator does not
trust, and a raw value in nginx.conf is code (CVE-2025-1974 and its kin). What is not in the list is named in an Event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

PREFIXES = ("nginx.ingress.kubernetes.io/", "ingress.kubernetes.io/")
LONGEST_TIMEOUT = 24 * 3600  # seconds
LARGEST_BODY = 64 * 1024  # MiB

Network = IPv4Network | IPv6Network


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
    whitelist_source_range: tuple[Network, ...] = ()
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


def parse_annotations(annotations: Mapping[str, str]) -> tuple[Options, list[Refusal]]:
    """The options that an Ingress sets, and what of its annotations is not honoured."""
    options, refusals = DEFAULT_OPTIONS, []
    for prefix in reversed(PREFIXES):  # the newer prefix wins where both are there
        for key, value in sorted(annotations.items()):
            if not key.startswith(prefix):
                continue
            name = key.removeprefix(prefix)
            parser = _PARSERS.get(name)
            if parser is None:
                refusals.append(Refusal(key, "it is not supported"))
                continue
            try:
                options = replace(options, **{name.replace("-", "_"): parser(str(value))})
            except ValueError as error:
                refusals.append(Refusal(key, str(error)))
    return options, refusals


def _boolean(text: str) -> bool:
    # Go's strconv.ParseBool, by which upstream's controller reads them; "on" and "off" are nginx's own words.
    if text in {"1", "t", "T", "true", "TRUE", "True", "on"}:
        return True
    if text in {"0", "f", "F", "false", "FALSE", "False", "off"}:
        return False
    raise ValueError("its value is not true or false")


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,6})(s|m|h)?", text)
    if not match:
        raise ValueError("its value is not a number of seconds")
    seconds = int(match[1]) * {"s": 1, "m": 60, "h": 3600, None: 1}[match[2]]
    if not 1 <= seconds <= LONGEST_TIMEOUT:
        raise ValueError(f"its value is not between 1 s and {LONGEST_TIMEOUT} s")
    return seconds


def _mebibytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12})([kKmMgG]?)", text)
    if not match:
        raise ValueError("its value is not a size such as 64m")
    size = int(match[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[match[2].lower()]
    mebibytes = -(-size // (1 << 20))
    if mebibytes > LARGEST_BODY:
        raise ValueError(f"its value is larger than {LARGEST_BODY} MiB")
    return mebibytes


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise ValueError("its value is not a number")
    return int(text)


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError("its value is not a list of addresses and networks") from None


def _protocol(text: str) -> str:
    if text != "HTTP":
        raise ValueError("only HTTP backends are supported")
    return text


_PARSERS: dict[str, Callable[[str], Any]] = {
    "proxy-body-size": _mebibytes,
    "proxy-connect-timeout": _seconds,
    "proxy-read-timeout": _seconds,
    "proxy-send-timeout": _seconds,
    "proxy-buffering": _boolean,
    "proxy-request-buffering": _boolean,
    "ssl-redirect": _boolean,
    "force-ssl-redirect": _boolean,
    "whitelist-source-range": _networks,
    "limit-connections": _count,
    "limit-rps": _count,
    "enable-cors": _boolean,
    "backend-protocol": _protocol,
}

SUPPORTED = tuple(sorted(_PARSERS))
assert {name.replace("-", "_") for name in _PARSERS} == {field.name for field in fields(Options)}
