"""What a pod asks, and what of it the host's resolver hears: a real node, a resolver of the test's own.

The node sees another /etc/resolv.conf than the machine, in a mount namespace of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.node.dns.resolver import FakeResolver, resolving
from tests.node.pods.conftest import Node, running

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


class Apart(Node):
    """A node that reads `resolv_conf` as /etc/resolv.conf."""

    def __init__(self, folder: Path, name: str, resolv_conf: Path) -> None:
        super().__init__(folder, name)
        self._resolv_conf = resolv_conf

    def command(self, *words: str) -> list[str]:
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self._resolv_conf), *super().command(*words)]


@pytest.fixture
async def resolver() -> AsyncIterator[FakeResolver]:
    async with resolving({f"{OUTSIDE}.": [f"{OUTSIDE}. 60 IN A 192.0.2.7"]}, ADDRESS, 53) as fake:
        yield fake


@pytest.fixture
def node(resolver: FakeResolver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("names")
    (folder / "resolv.conf").write_text(f"nameserver {ADDRESS}\n")
    with running(Apart(folder, f"tp{secrets.token_hex(2)}", folder / "resolv.conf")) as node:
        yield node


async def test_the_hosts_resolver_hears_of_other_names_alone(
    client: Client, make: Any, wait_for: Any, node: Node, resolver: FakeResolver
) -> None:
    asks = "; ".join(f"nslookup {name}" for name in [*NOT_THEIRS, OUTSIDE])
    pod = await make("asking", f"({asks}) 2>&1; true", restartPolicy="Never")
    await wait_for("asking", lambda pod: pod["status"].get("phase") == "Succeeded", seconds=60)
    [log] = (node.state / "nodes" / node.name / "logs").glob(f"*{pod['metadata']['uid']}/main/*.log")
    said = log.read_text()
    assert "192.0.2.7" in said, said  # what is outside was asked for, and is answered
    assert set(resolver.asked) == {f"{OUTSIDE}."}, said
    assert said.count("NXDOMAIN") >= len(NOT_THEIRS) - 1, said  # one exists
