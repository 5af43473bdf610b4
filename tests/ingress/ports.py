"""Free ports for programs that cannot choose their own."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A port below the kernel's own range: what binds to port 0 before nginx starts does not take it."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("0.0.0.0", random.randrange(12_000, 32_000)))
            return int(probe.getsockname()[1])
