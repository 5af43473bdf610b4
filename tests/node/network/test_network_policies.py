"""NetworkPolicies: their meaning as tables, and their effect in the kernel (first reached without, then not with)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.server
import itertools
import subprocess
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.node.network import links
from binderops.node.network.intervals import contains, of_cidr, subtract, to_text, union
from binderops.node.network.names import node_table
from binderops.node.network.podrules import OPEN, Surroundings, render, service_access
from binderops.node.network.policies import PodPeer, PolicyView, dns_peer, pod_peer
from binderops.node.network.services import Backend, Frontend, ServicePort

DNS = "10.0.16.1"


def _peer(name: str, namespace: str, address: str, ports: dict[str, int] | None = None, **labels: str) -> PodPeer:
    pod = {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "containers": [{"ports": [{"name": key, "containerPort": value} for key, value in (ports or {}).items()]}]
        },
    }
    return pod_peer(pod, address)


TARGET = _peer("target", "a", "10.0.0.1", {"http": 8000}, app="target")
FRIEND = _peer("friend", "a", "10.0.0.2", {"http": 8001}, app="friend")
STRANGER = _peer("stranger", "a", "10.0.0.3", app="stranger")
FOREIGN = _peer("foreign", "b", "10.0.0.4", {"http": 8002}, app="friend")
PEERS = (TARGET, FRIEND, STRANGER, FOREIGN, dns_peer(DNS))
NAMESPACES = {"a": {"team": "x"}, "b": {"team": "y"}, "kube-system": {"purpose": "system"}}
OUTSIDE = "192.0.2.9"

FRIENDS = {"podSelector": {"matchLabels": {"app": "friend"}}}
TEAM_Y = {"namespaceSelector": {"matchLabels": {"team": "y"}}}
BLOCK = {"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}}


def _rules(*specs: dict[str, Any]) -> Any:
    policies = [
        {"metadata": {"name": f"p{index}", "namespace": "a"}, "spec": {"podSelector": {}, **spec}}
        for index, spec in enumerate(specs)
    ]
    return PolicyView(policies, NAMESPACES, PEERS).rules_for(TARGET)


def _allowed(reaches: Any, address: str, port: int, protocol: str = "TCP") -> bool:
    return reaches is None or any(reach.allows(int(IPv4Address(address)), protocol, port) for reach in reaches)


FROM = ["10.0.0.2", "10.0.0.3", "10.0.0.4", OUTSIDE, "192.0.2.200"]


@pytest.mark.parametrize(
    ("specs", "port", "allowed"),
    [
        ([], 8000, FROM),
        ([{"podSelector": {"matchLabels": {"app": "other"}}}], 8000, FROM),
        ([{}], 8000, []),
        ([{"ingress": []}], 8000, []),
        ([{"ingress": [{}]}], 8000, FROM),
        ([{"ingress": [{"from": []}]}], 8000, FROM),
        ([{"ingress": [{"from": [FRIENDS]}]}], 8000, ["10.0.0.2"]),
        ([{"ingress": [{"from": [{"podSelector": {}}]}]}], 8000, ["10.0.0.2", "10.0.0.3"]),
        ([{"ingress": [{"from": [TEAM_Y]}]}], 8000, ["10.0.0.4"]),
        ([{"ingress": [{"from": [{"namespaceSelector": {}}]}]}], 8000, ["10.0.0.2", "10.0.0.3", "10.0.0.4"]),
        ([{"ingress": [{"from": [{"namespaceSelector": {}, **FRIENDS}]}]}], 8000, ["10.0.0.2", "10.0.0.4"]),
        ([{"ingress": [{"from": [TEAM_Y | {"podSelector": {"matchLabels": {"app": "no"}}}]}]}], 8000, []),
        ([{"ingress": [{"from": [BLOCK]}]}], 8000, [OUTSIDE]),
        ([{"ingress": [{"from": [{"ipBlock": {"cidr": "fd00::/8"}}]}]}], 8000, []),
        ([{"ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}]}], 80, FROM[3:]),
        ([{"ingress": [{"from": [FRIENDS], "ports": [{"port": 8000}]}]}], 8000, ["10.0.0.2"]),
        ([{"ingress": [{"from": [FRIENDS], "ports": [{"port": 8000}]}]}], 8001, []),
        ([{"ingress": [{"ports": [{"port": 8000, "protocol": "UDP"}]}]}], 8000, []),
        ([{"ingress": [{"ports": [{"protocol": "TCP"}]}]}], 1, FROM),
        ([{"ingress": [{"ports": [{"port": "http"}]}]}], 8000, FROM),
        ([{"ingress": [{"ports": [{"port": "http"}]}]}], 8001, []),
        ([{"ingress": [{"ports": [{"port": "none"}]}]}], 8000, []),
        ([{"ingress": [{"ports": [{"port": 7000, "endPort": 8000}]}]}], 7500, FROM),
        ([{"ingress": [{"ports": [{"port": 7000, "endPort": 7999}]}]}], 8000, []),
        ([{"ingress": [{"from": [FRIENDS]}]}, {"ingress": [{"from": [TEAM_Y]}]}], 80, ["10.0.0.2", "10.0.0.4"]),
        ([{"ingress": [{"from": [FRIENDS]}]}, {}], 80, ["10.0.0.2"]),
        ([{"policyTypes": ["Egress"], "ingress": [{"from": [FRIENDS]}]}], 80, FROM),
        ([{"ingress": [{"from": [{"podSelector": {"matchExpressions": [
            {"key": "app", "operator": "NotIn", "values": ["friend"]}]}}]}]}], 80, ["10.0.0.3"]),
    ],
)  # fmt: skip
def test_ingress(specs: list[dict[str, Any]], port: int, allowed: list[str]) -> None:
    rules = _rules(*specs)
    assert [address for address in FROM if _allowed(rules.ingress, address, port)] == allowed


TO = [*FROM, DNS]


@pytest.mark.parametrize(
    ("specs", "port", "protocol", "allowed"),
    [
        ([{}], 80, "TCP", TO),
        ([{"policyTypes": ["Egress"]}], 80, "TCP", []),
        ([{"policyTypes": ["Ingress"], "egress": []}], 80, "TCP", TO),
        ([{"egress": [{}]}], 80, "TCP", TO),
        ([{"egress": [{"to": [FRIENDS]}]}], 80, "TCP", ["10.0.0.2"]),
        ([{"egress": [{"to": [TEAM_Y], "ports": [{"port": 443}]}]}], 443, "TCP", ["10.0.0.4"]),
        ([{"egress": [{"ports": [{"port": "http"}]}]}], 8001, "TCP", ["10.0.0.2"]),
        ([{"egress": [{"ports": [{"port": "http"}]}]}], 8002, "TCP", ["10.0.0.4"]),
        ([{"egress": [{"to": [TEAM_Y], "ports": [{"port": "http"}]}]}], 8001, "TCP", []),
        ([{"egress": [{"to": [BLOCK], "ports": [{"port": "http"}]}]}], 8000, "TCP", []),
        ([{"egress": [{"to": [BLOCK]}]}], 80, "TCP", [OUTSIDE]),
        ([{"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 53, "protocol": "UDP"}]}]}],
         53, "UDP", ["10.0.0.2", "10.0.0.3", "10.0.0.4", DNS]),
        ([{"egress": [{"to": [{"namespaceSelector": {"matchLabels": {"purpose": "system"}}}]}]}],
         53, "UDP", [DNS]),
        ([{"egress": [{"to": [{"namespaceSelector": {}}]}]}], 6443, "TCP", ["10.0.0.2", "10.0.0.3", "10.0.0.4"]),
        ([{"egress": [{"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
                       "ports": [{"port": 1, "endPort": 9000, "protocol": "UDP"}]}]}], 53, "UDP", [DNS]),
        ([{"egress": [{"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
                       "ports": [{"port": 1, "endPort": 9000}]}]}], 8443, "TCP", []),
    ],
)  # fmt: skip
def test_egress(specs: list[dict[str, Any]], port: int, protocol: str, allowed: list[str]) -> None:
    rules = _rules(*specs)
    assert [address for address in TO if _allowed(rules.egress, address, port, protocol)] == allowed


def test_a_selector_that_cannot_be_read_opens_nothing() -> None:
    broken = {"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}
    assert _rules({"podSelector": broken, "ingress": []}).ingress == ()
    assert _rules({"ingress": [{"from": [{"podSelector": broken}]}]}).ingress == ()


def test_a_service_is_judged_by_its_endpoints() -> None:
    def port(*addresses: str) -> ServicePort:
        backends = tuple(Backend(address, 8000) for address in addresses)
        return ServicePort("a", "s", "", "TCP", 80, "10.0.16.9", backends=backends)

    frontends = [Frontend(f"10.0.16.{index}", "TCP", 80) for index in (10, 11, 12, 13)]
    ports = [port("10.0.0.2"), port("10.0.0.2", "10.0.0.3"), port("10.0.0.3"), port()]
    rules = _rules({"egress": [{"to": [FRIENDS], "ports": [{"port": 8000}]}]})
    access = service_access(rules.egress, dict(zip(frontends, ports, strict=True)))
    assert access.whole == {frontends[0]}
    assert access.partial == {frontends[1]: (Backend("10.0.0.2", 8000),)}


def test_a_pod_without_policies_is_open() -> None:
    rules = _rules()
    assert render(rules, service_access([], {}), Surroundings(DNS, "10.0.16.0/20")) == OPEN


_INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (min(pair), max(pair))))


@given(_INTERVALS, _INTERVALS)
def test_intervals_are_sets_of_addresses(parts: list[tuple[int, int]], holes: list[tuple[int, int]]) -> None:
    def members(intervals: Any) -> set[int]:
        return {number for first, last in intervals for number in range(first, last + 1)}

    joined = union(parts)
    rest = subtract(joined, holes)
    assert members(joined) == members(parts)
    assert members(rest) == members(parts) - members(holes)
    assert all(contains(rest, number) == (number in members(rest)) for number in range(62))
    assert all(left[1] + 1 < right[0] for left, right in itertools.pairwise(rest))


def test_intervals_as_text() -> None:
    assert to_text(of_cidr("10.0.0.1/32")) == "10.0.0.1"
    assert to_text(of_cidr("10.0.0.7/24")) == "10.0.0.0-10.0.0.255"
    assert IPv4Network("10.0.0.0/24").num_addresses == 256


REFUSED = ["error EHOSTUNREACH"]


@pytest.mark.root
async def test_ingress_in_the_kernel(node: Any) -> None:
    node.namespace("a")
    node.namespace("b", team="y")
    web = await node.pod("web", labels={"app": "web"}, named_ports={"http": 8000}, listen=(8000, 9000))
    friend = await node.pod("friend", labels={"app": "friend"})
    stranger = await node.pod("stranger")
    foreign = await node.pod("foreign", namespace="b")
    address = node.service("web", [web])
    await node.sync()
    for client in (friend, stranger, foreign):
        assert await node.get(client, web.address, 8000) == [f"web {client.address} 8000"]
    allow = [{"from": [FRIENDS, TEAM_Y], "ports": [{"port": "http"}]}]
    node.policy("web", podSelector={"matchLabels": {"app": "web"}}, ingress=allow)
    await node.sync()
    assert await node.get(friend, web.address, 8000) == [f"web {friend.address} 8000"]
    assert await node.get(friend, address, 80) == [f"web {friend.address} 8000"]
    assert await node.get(foreign, web.address, 8000) == [f"web {foreign.address} 8000"]
    assert await node.get(stranger, web.address, 8000) == REFUSED
    assert await node.get(stranger, address, 80) == REFUSED
    assert await node.get(friend, web.address, 9000) == REFUSED
    assert (await node.udp(friend, web.address, 5353))[0].startswith("error")
    assert await node.get(None, web.address, 9000) == [f"web {node.config.bridge_address} 9000"]
    assert await node.get(web, "127.0.0.1", 9000) == ["web 127.0.0.1 9000"]
    # A label that changes opens the way; a policy that goes leaves none closed.
    stranger.object["metadata"]["labels"] = {"app": "friend"}
    await node.sync()
    assert await node.get(stranger, web.address, 8000) == [f"web {stranger.address} 8000"]
    node.objects["policies"].clear()
    await node.sync()
    assert await node.get(friend, web.address, 9000) == [f"web {friend.address} 9000"]


@pytest.mark.root
async def test_policies_are_in_force_when_attach_returns(node: Any) -> None:
    node.namespace("a")
    node.policy("deny")
    web = await node.pod("web", listen=(8000,))
    client = await node.pod("client")
    assert await node.get(client, web.address, 8000) == REFUSED
    node.objects["policies"].clear()
    await node.network.refresh()
    assert await node.get(client, web.address, 8000) == [f"web {client.address} 8000"]


@pytest.mark.root
async def test_egress_in_the_kernel_follows_services_and_their_endpoints(node: Any) -> None:
    node.namespace("a")
    web = await node.pod("web", labels={"app": "web"}, listen=(8000,))
    other = await node.pod("other", labels={"app": "other"}, listen=(8000,))
    client = await node.pod("client", labels={"app": "client"})
    to_web = node.service("web", [web])
    to_other = node.service("other", [other])
    to_both = node.service("both", [web, other], type="NodePort", node_port=31998)
    await node.sync()
    for address in (to_web, to_other):
        assert (await node.get(client, address, 80))[0].split()[1] == client.address
    selector = {"matchLabels": {"app": "client"}}
    block = {"ipBlock": {"cidr": node.config.service_range}}
    web_pods = {"podSelector": {"matchLabels": {"app": "web"}}}
    node.policy("out", podSelector=selector, policyTypes=["Egress"], egress=[{"to": [web_pods, block]}])
    await node.sync()
    assert await node.get(client, web.address, 8000) == [f"web {client.address} 8000"]
    assert await node.get(client, to_web, 80) == [f"web {client.address} 8000"]
    # A block that holds the Service's address says nothing of the pods behind it.
    assert await node.get(client, other.address, 8000) == REFUSED
    assert await node.get(client, to_other, 80) == REFUSED
    # Some endpoints are allowed: those are used, and no others.
    assert {a.split()[0] for a in await node.get(client, to_both, 80, count=20)} == {"web"}
    host = node.config.bridge_address
    assert {a.split()[0] for a in await node.get(client, host, 31998, count=20)} == {"web"}
    # The endpoints change: what the address may be used for changes with them.
    node.service("web", [other])
    node.service("other", [web])
    await node.sync()
    assert await node.get(client, to_web, 80) == REFUSED
    assert await node.get(client, to_other, 80) == [f"web {client.address} 8000"]
    # The other direction is not isolated, and replies pass.
    assert await node.get(web, to_both, 80) != REFUSED


@pytest.fixture
def public_address(config: Any) -> Iterator[str]:
    """An address of this machine's own, on a link of its own."""
    link, address = f"t{config.name}"[:15], "203.0.113.77"
    for words in (f"link add {link} type bridge", f"address add {address}/32 dev {link}", f"link set {link} up"):
        subprocess.run(["ip", *words.split()], check=True, timeout=20)
    yield address
    subprocess.run(["ip", "link", "delete", link], check=True, timeout=20)


@pytest.mark.root
async def test_a_block_of_addresses_does_not_mean_the_machine_itself(
    node: Any, public_address: str, listener: Any, tmp_path: Path
) -> None:
    """As for a server on the internet, whose own address is a public one."""
    node.namespace("a")
    address = public_address
    for place in (address, node.config.bridge_address):
        listener(_web_server(place, tmp_path))
    free = await node.pod("free")
    web = await node.pod("web", listen=(8000,))
    published = node.service("web", [web], type="NodePort", node_port=31997)
    await node.sync()
    assert (await node.get(free, address, PORT))[0].startswith("<!DOCTYPE")
    everything = {"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"]}
    anywhere = {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"podSelector": {}}]}
    node.policy("out", **everything, egress=[anywhere])
    # Before the next round of the node's network: a pod never runs unguarded.
    client = await node.pod("client", labels={"app": "client"})
    assert await node.get(client, address, PORT) == REFUSED
    await node.sync()
    assert await node.get(client, address, PORT) == REFUSED
    # The host as pods see it, and Services at the host's addresses, are judged by the policies themselves.
    assert (await node.get(client, node.config.bridge_address, PORT))[0].startswith("<!DOCTYPE")
    assert {a.split()[0] for a in await node.get(client, address, 31997)} == {"web"}
    assert {a.split()[0] for a in await node.get(client, published, 80)} == {"web"}
    # Who is named is meant.
    node.policy("named", **everything, egress=[{"to": [{"ipBlock": {"cidr": f"{address}/32"}}]}])
    await node.sync()
    assert (await node.get(client, address, PORT))[0].startswith("<!DOCTYPE")
    node.objects["policies"].clear()
    await node.sync()
    assert (await node.get(client, address, PORT))[0].startswith("<!DOCTYPE"), "nothing isolates it any more"


PORT = 18443


@contextlib.contextmanager
def _web_server(address: str, folder: Path) -> Iterator[None]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer((address, PORT), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@pytest.mark.root
async def test_ports_in_egress_are_those_of_the_pods(node: Any) -> None:
    node.namespace("a")
    web = await node.pod("web", named_ports={"http": 8000}, listen=(8000, 9000))
    client = await node.pod("client", labels={"app": "client"})
    address = node.service("web", [web], ports=[(80, 8000), (90, 9000)])
    await node.sync()
    assert (await node.get(client, address, 90)) == [f"web {client.address} 9000"]
    node.policy(
        "out",
        podSelector={"matchLabels": {"app": "client"}},
        policyTypes=["Egress"],
        egress=[{"to": [{"podSelector": {}}], "ports": [{"port": "http"}]}],
    )
    await node.sync()
    assert await node.get(client, address, 80) == [f"web {client.address} 8000"]
    assert await node.get(client, address, 90) == REFUSED
    assert await node.get(client, web.address, 9000) == REFUSED


@pytest.mark.root
async def test_an_open_connection_survives_a_new_policy_and_new_ones_do_not(node: Any) -> None:
    node.namespace("a")
    web = await node.pod("web", listen=(8000,))
    client = await node.pod("client")
    code = (
        "import socket, sys; c = socket.create_connection((sys.argv[1], 8000), 5); print('open', flush=True); "
        "sys.stdin.readline(); c.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); c.settimeout(5); "
        "print(c.recv(99).split()[1].decode(), flush=True)"
    )
    argv = ["ip", "netns", "exec", client.attachment.namespace.name, "python3", "-c", code, web.address]
    process = await asyncio.to_thread(subprocess.Popen, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "open\n"
        node.policy("deny", policyTypes=["Ingress", "Egress"])
        await node.sync()
        assert await node.get(client, web.address, 8000) == REFUSED
        answer, _ = await asyncio.to_thread(process.communicate, "go\n", 10)
        assert answer == "200\n"
    finally:
        process.kill()
        process.wait()


@pytest.mark.root
async def test_a_container_cannot_undo_them(node: Any) -> None:
    """Root in a user namespace of its own, in the pod's network namespace: as a build pod runs."""
    node.namespace("a")
    node.policy("deny", policyTypes=["Egress"])
    client = await node.pod("client")
    inside = ["ip", "netns", "exec", client.attachment.namespace.name]
    shown = await asyncio.to_thread(subprocess.run, [*inside, "nft", "list", "tables"], capture_output=True, text=True)
    assert "binderops" in shown.stdout
    for argv in (
        [*inside, "unshare", "--user", "--map-root-user", "nft", "delete", "table", "ip", "binderops"],
        [*inside, "setpriv", "--reuid=1000", "--clear-groups", "nft", "delete", "table", "ip", "binderops"],
    ):
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True)
        assert done.returncode != 0 and "not permitted" in done.stderr
    shown = await asyncio.to_thread(subprocess.run, [*inside, "nft", "list", "tables"], capture_output=True, text=True)
    assert "binderops" in shown.stdout


@pytest.mark.root
async def test_only_pods_whose_rules_differ_are_written(node: Any) -> None:
    node.namespace("a")
    for index in range(4):
        await node.pod(f"p{index}", labels={"n": str(index)})
    await node.sync()
    node.policy("one", podSelector={"matchLabels": {"n": "1"}})
    assert await node.network.refresh() == 1
    assert await node.network.refresh() == 0


async def test_a_pod_that_goes_before_the_table_is_written_leaves_nothing_in_it(node: Any) -> None:
    """It was closed off at once, by a write of its own: who writes the table has to know of that."""
    node.namespace("a")
    node.policy("nothing", podSelector={}, policyTypes=["Egress"])
    await node.sync()
    pod = await node.pod("brief")
    table = ["nft", "list", "table", "ip", node_table(node.config.name)]
    assert pod.address in await asyncio.to_thread(subprocess.check_output, table, text=True, timeout=20)
    await node.network.detach(pod.object["metadata"]["uid"])
    await node.sync()
    assert pod.address not in await asyncio.to_thread(subprocess.check_output, table, text=True, timeout=20)


async def test_a_table_that_is_written_meanwhile_leaves_a_pod_that_comes_closed(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write between a pod's closing and its being there must not open the machine to it."""
    node.namespace("a")
    node.policy("nothing", podSelector={}, policyTypes=["Egress"])
    await node.sync()
    create = links.create

    def slowly(*arguments: Any, **options: Any) -> None:
        asyncio.run_coroutine_threadsafe(node.sync(), loop).result(20)
        create(*arguments, **options)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(links, "create", slowly)
    pod = await node.pod("comes")
    table = ["nft", "list", "table", "ip", node_table(node.config.name)]
    assert pod.address in await asyncio.to_thread(subprocess.check_output, table, text=True, timeout=20)
