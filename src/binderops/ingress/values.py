"""Parsers of the values that annotations and the controller's settings may have: text in, a typed value or ValueError.

The error's text continues "NAME is not honoured: …". No parser lets text through: what nginx reads is written from the
parsed value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network

LONGEST_TIMEOUT = 24 * 3600  # seconds
LARGEST_BODY = 64 * 1024  # MiB
LARGEST_COUNT = 65535  # nginx's own bound for limit_conn: beyond it, it refuses its whole configuration

Network = IPv4Network | IPv6Network


def boolean(text: str) -> bool:
    """True or false."""
    # Go's strconv.ParseBool, by which upstream's controller reads them; "on" and "off" are nginx's own words.
    if text in {"1", "t", "T", "true", "TRUE", "True", "on"}:
        return True
    if text in {"0", "f", "F", "false", "FALSE", "False", "off"}:
        return False
    raise ValueError("its value is not true or false")


def seconds(text: str) -> int:
    """Seconds: a plain number, or one with s, m or h."""
    match = re.fullmatch(r"([0-9]{1,6})(s|m|h)?", text)
    if not match:
        raise ValueError("its value is not a number of seconds")
    found = int(match[1]) * {"s": 1, "m": 60, "h": 3600, None: 1}[match[2]]
    if not 1 <= found <= LONGEST_TIMEOUT:
        raise ValueError(f"its value is not between 1 s and {LONGEST_TIMEOUT} s")
    return found


def mebibytes(text: str) -> int:
    """A size in MiB, rounded up; 0 is no limit."""
    match = re.fullmatch(r"([0-9]{1,12})([kKmMgG]?)", text)
    if not match:
        raise ValueError("its value is not a size such as 64m")
    size = int(match[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[match[2].lower()]
    found = -(-size // (1 << 20))
    if found > LARGEST_BODY:
        raise ValueError(f"its value is larger than {LARGEST_BODY} MiB")
    return found


def count(text: str) -> int:
    """A number of connections or requests."""
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) > LARGEST_COUNT:
        raise ValueError(f"its value is not a number between 0 and {LARGEST_COUNT}")
    return int(text)


def age(text: str) -> int:
    """A max-age in seconds, at most ten years."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > 315_360_000:
        raise ValueError("its value is not a number of seconds up to 315360000")
    return int(text)


def networks(text: str) -> tuple[Network, ...]:
    """Addresses and networks, with commas between them."""
    try:
        found = tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError("its value is not a list of addresses and networks") from None
    if any(isinstance(network, IPv6Network) and network.network_address.scope_id for network in found):
        raise ValueError("its value holds an address with a zone")  # a zone may be any text
    return found


def one_of(*words: str) -> Callable[[str], str]:
    """A parser for one of these words; blanks between parts of a word count once."""

    def parse(text: str) -> str:
        found = " ".join(text.split())
        if found not in words:
            raise ValueError(f"its value is not {' or '.join(words)}")
        return found

    return parse
