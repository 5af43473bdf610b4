"""What a node's network calls its things: everything that teardown must find again carries the node's name.

Interface names have 15 bytes at most, too few for a node's name and a pod's: a veth carries four hexadecimal digits
of the node's name instead, and its alias says which pod it belongs to.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

NAMESPACES = Path("/run/netns")
"""Where `ip netns` keeps named network namespaces."""

GATEWAY = "169.254.1.1"
"""Every pod's gateway: a link-local address that stands on no interface, answered by a static neighbour entry."""

GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
"""The host end of every veth; the same for all, so that a pod's neighbour entry is known beforehand."""

POD_INTERFACE = "eth0"
POD_TABLE = "binderops"
"""The nftables table inside a pod's own network namespace."""


class PodNames(NamedTuple):
    """The names of one pod's network."""

    namespace: str
    veth: str

    @property
    def path(self) -> Path:
        """The namespace as a file that runc and nsenter take."""
        return NAMESPACES / self.namespace


def node_table(node: str) -> str:
    """The nftables table (family ip) of a node."""
    return f"binderops-{node}"


def is_bridge(name: str) -> bool:
    """Whether an interface is the bridge of some node of this machine."""
    return name.startswith("bo-")


def veth_prefix(node: str) -> str:
    """What the names of a node's veths begin with, six bytes."""
    return "bo" + hashlib.sha256(node.encode()).hexdigest()[:4]


def pod_names(node: str, uid: str, *, attempt: int = 0) -> PodNames:
    """The names for the pod with `uid`: eight hexadecimal digits of it; another `attempt` gives others, for a clash."""
    digits = uid.replace("-", "").lower()[:8]
    if attempt or not re.fullmatch(r"[0-9a-f]{8}", digits):
        digits = hashlib.sha256(f"{uid}/{attempt}".encode()).hexdigest()[:8]
    return PodNames(f"bo-{node}-{digits}", veth_prefix(node) + digits)


def is_namespace_of(node: str, name: str) -> bool:
    """Whether a namespace's name is one that `pod_names` gives for this node (and not for node `NODE-x`)."""
    return re.fullmatch(rf"bo-{re.escape(node)}-[0-9a-f]{{8}}", name) is not None


def alias_of(uid: str, address: str) -> str:
    """The host end's alias: what a restarted node reads to know whose it is. Written last: no alias, half made."""
    return f"binderops {uid} {address}"


def parse_alias(alias: str) -> tuple[str, str] | None:
    """The (uid, address) that `alias_of` wrote, or None."""
    match = re.fullmatch(r"binderops (\S+) (\d+\.\d+\.\d+\.\d+)", alias)
    return (match[1], match[2]) if match else None
