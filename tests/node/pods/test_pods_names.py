"""What a pod asks, and what of it the host's resolver hears: a real node, a resolver of the test's own.

The node sees another /etc/resolv.conf than the machine, in a mount namespace of its own.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset
import pytest
from tests.node.pods.conftest import Node, give_image

from binderops.kube.client import Client

pytestmark = [pytest.mark.podman, pytest.mark.root]

ADDRESS = "127.83.53.1"  # loopback: as a resolver of the host's own
OUTSIDE = "outside.example.org"
NOT_THEIRS = [
    "no-such.default.svc.cluster.local",
    "kubernetes",  # by the search domains: kubernetes.default.svc.cluster.local
    "hub.prod.svc",
    "somebody.cluster.local",
    "9.9.168.192.in-addr.arpa",
    "254.169.254.169.in-addr.arpa",
    "printer.invalid",
]


class Resolver:
    """Answers every question with one address, and remembers the names."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((ADDRESS, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                data, sender = self._socket.recvfrom(4096)
            except OSError:
                return
            if not data:  # closed
                return
            query = dns.message.from_wire(data)
            question = query.question[0]
            self.asked.add(question.name.to_text(omit_final_dot=True).lower())
            answer = dns.message.make_response(query)
            if question.rdtype == 1:
                answer.answer = [dns.rrset.from_text(question.name, 60, "IN", "A", "192.0.2.7")]
            self._socket.sendto(answer.to_wire(), sender)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # not connected, it says, and wakes who waits
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Apart(Node):
    """A node that reads `resolv_conf` as /etc/resolv.conf."""

    def __init__(self, folder: Path, name: str, resolv_conf: Path) -> None:
        super().__init__(folder, name)
        self._resolv_conf = resolv_conf

    def command(self, *words: str) -> list[str]:
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self._resolv_conf), *super().command(*words)]


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    resolver = Resolver()
    yield resolver
    resolver.close()


@pytest.fixture
def node(resolver: Resolver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("names")
    (folder / "resolv.conf").write_text(f"nameserver {ADDRESS}\n")
    node = Apart(folder, f"tp{secrets.token_hex(2)}", folder / "resolv.conf")
    try:
        node.start()
        yield node
    finally:
        node.remove()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def client(node: Node) -> AsyncIterator[Client]:
    await give_image(node)
    async with Client.from_kubeconfig(node.kubeconfig) as client:
        yield client


async def test_the_hosts_resolver_hears_of_other_names_alone(
    client: Client, make: Any, wait_for: Any, node: Node, resolver: Resolver
) -> None:
    asks = "; ".join(f"nslookup {name}" for name in [*NOT_THEIRS, OUTSIDE])
    pod = await make("asking", f"({asks}) 2>&1; true", restartPolicy="Never")
    await wait_for("asking", lambda pod: pod["status"].get("phase") == "Succeeded", seconds=60)
    [log] = (node.state / "nodes" / node.name / "logs").glob(f"*{pod['metadata']['uid']}/main/*.log")
    said = log.read_text()
    assert "192.0.2.7" in said, said  # what is outside was asked for, and is answered
    assert resolver.asked == {OUTSIDE}, said
    assert said.count("NXDOMAIN") >= len(NOT_THEIRS) - 1, said  # one exists
