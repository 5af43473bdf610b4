"""Hosts of the tests' own: namespaces behind veth pairs, routed here, so that no packet leaves the machine."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

_DEADLINE = 20.0  # seconds for a command, and for a server to listen
# As `python -m http.server`, which looks up its own name first: no server of names is in reach of such a host.
_WEB_SERVER = """\
import functools, http.server, socketserver, sys
address, port, folder = sys.argv[1:]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer((address, int(port)), handler).serve_forever()
"""


@dataclass
class Host:
    """A host at `address`, in the namespace `name`, and its programs; this machine is its `gateway`."""

    name: str
    address: str
    gateway: str
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: str, port: int) -> None:
        """Starts a server there and waits until it listens on `port`."""
        program = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.programs.append(program)

        def listens() -> bool:
            assert program.poll() is None, (
                f"{command} ended: {program.stderr.read().decode() if program.stderr else ''}"
            )
            with contextlib.suppress(OSError), socket.create_connection((self.address, port), timeout=1):
                return True
            return False

        until(listens, f"{self.name}:{port} to listen", timeout=_DEADLINE)

    def serve(self, folder: Path, *, port: int) -> None:
        """Serves a folder by HTTP."""
        self.start(sys.executable, "-c", _WEB_SERVER, self.address, str(port), str(folder), port=port)


@contextlib.contextmanager
def host(name: str, address: str) -> Iterator[Host]:
    """A host at `address`; this machine has the other address of its pair (RFC 3021) and is its gateway."""
    own = IPv4Interface(f"{address}/31")
    here = next(other for other in own.network.hosts() if other != own.ip)
    _refuse_a_used_network(own.ip)
    made = Host(name, address, str(here))
    ip("netns", "add", name)
    try:
        ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("address", "add", f"{here}/31", "dev", name)
        ip("link", "set", name, "up")
        for command in (
            ("address", "add", str(own), "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", str(here)),
        ):
            ip("-n", name, *command)
        yield made
    finally:
        for program in made.programs:
            program.kill()
            program.wait(_DEADLINE)
        ip("netns", "delete", name)
        # The pair goes with the namespace, but only once the kernel has torn that down.
        subprocess.run(["ip", "link", "delete", name], capture_output=True, timeout=_DEADLINE, check=False)


def ip(*arguments: str) -> str:
    """Runs iproute2."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=_DEADLINE, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def until(holds: Callable[[], bool], what: str, *, timeout: float = 60) -> None:
    """Waits until a condition holds; fails with `what` was awaited."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}"
        time.sleep(0.05)


def _refuse_a_used_network(address: IPv4Address) -> None:
    told = ip("route", "show", "to", "match", str(address)).splitlines()
    others = [line for line in told if not line.startswith("default")]
    assert not others, f"this machine routes {address} already: {others}"
