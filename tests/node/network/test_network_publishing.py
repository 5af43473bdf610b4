from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from binderops.node.network import firewalls, forwarding
from binderops.node.network.holders import find_holder

pytestmark = pytest.mark.root


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def http_get(address: str, port: int) -> str:
    reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 5)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
    return data.split(b"\r\n\r\n", 1)[1].decode()


async def publish(node: Any, name: str, pods: list[Any], port: int, **spec: Any) -> str:
    address: str = node.service(name, pods, ports=[(port, 8000)], type="LoadBalancer", **spec)
    await node.sync()
    return address


def status(node: Any, name: str) -> Any:
    return [value for key, value in node.api.patches if key == f"a/{name}"][-1]


async def test_loopback_is_served_by_the_forwarder(node: Any) -> None:
    web = await node.pod("web", listen=(8000,))
    port = free_port()
    await publish(node, "web", [web], port)
    expected = f"web {node.config.bridge_address} 8000"
    assert await http_get("127.0.0.1", port) == expected
    assert await http_get("::1", port) == expected
    assert status(node, "web") == [{"ip": "127.0.0.1"}, {"ip": "::1"}]
    assert not node.balancers.pending


async def test_endpoints_that_change_need_no_change_of_the_forwarder(node: Any) -> None:
    one = await node.pod("one", listen=(8000,))
    two = await node.pod("two", listen=(8000,))
    port = free_port()
    await publish(node, "web", [one], port)
    assert (await http_get("127.0.0.1", port)).startswith("one")
    await publish(node, "web", [two], port)
    assert (await http_get("127.0.0.1", port)).startswith("two")
    await publish(node, "web", [], port)
    with pytest.raises(ConnectionError):
        await http_get("127.0.0.1", port)


async def test_the_forwarder_outlives_the_node_and_keeps_connections(node: Any) -> None:
    web = await node.pod("web", listen=(8000,))
    port, other_port = free_port(), free_port()
    await publish(node, "web", [web], port)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    pid = (await forwarding.set_routes(node.config, node.balancers._routes())).pid
    restarted = type(node)(node.config)
    for kind in ("services", "slices", "pods"):
        restarted.objects[kind].update(node.objects[kind])
    restarted.service("more", [web], ports=[(other_port, 8000)], type="LoadBalancer")
    await restarted.sync()
    assert (await forwarding.set_routes(node.config, restarted.balancers._routes())).pid == pid
    assert os.getsid(pid) == pid
    assert (await http_get("127.0.0.1", other_port)).startswith("web")
    # The port goes, and its open connection stays.
    del restarted.objects["services"]["a", "web"]
    await restarted.sync()
    with pytest.raises(ConnectionRefusedError):
        await http_get("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"200 OK" in await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def test_a_killed_forwarder_is_started_again(node: Any) -> None:
    web = await node.pod("web", listen=(8000,))
    port = free_port()
    await publish(node, "web", [web], port)
    pid = (await forwarding.set_routes(node.config, node.balancers._routes())).pid
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, pid, 0)
    await node.sync()
    assert (await http_get("127.0.0.1", port)).startswith("web")


async def test_much_data_passes_both_ways_and_half_closed_ends_work(node: Any) -> None:
    server = (
        "import socket; s = socket.create_server(('', 8000)); print('ready', flush=True); c, _ = s.accept(); n = 0\n"
        "while part := c.recv(65536): n += len(part)\n"
        "c.sendall(b'y' * n); c.close()"
    )
    web = await node.pod("web")
    argv = ["ip", "netns", "exec", web.attachment.namespace.name, "python3", "-c", server]
    process = await asyncio.to_thread(subprocess.Popen, argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        port = free_port()
        await publish(node, "web", [web], port)
        reader, writer = await asyncio.open_connection("::1", port)
        size = 20_000_000
        writer.write(b"x" * size)
        writer.write_eof()
        received = 0
        while part := await asyncio.wait_for(reader.read(1 << 20), 20):
            assert part.count(b"y") == len(part)
            received += len(part)
        assert received == size
        writer.close()
    finally:
        process.kill()
        process.wait()


async def test_many_connections_at_once(node: Any) -> None:
    web = await node.pod("web", listen=(8000,))
    port = free_port()
    await publish(node, "web", [web], port)
    assert node.api.events == []
    answers = await asyncio.gather(*(http_get("127.0.0.1", port) for _ in range(200)))
    assert set(answers) == {f"web {node.config.bridge_address} 8000"}


async def test_a_second_service_waits_for_the_port_and_gets_it(node: Any) -> None:
    one = await node.pod("one", listen=(8000,))
    two = await node.pod("two", listen=(8000,))
    port = free_port()
    await publish(node, "late", [two], port, created="2026-02-01T00:00:00Z")
    await publish(node, "early", [one], port, created="2026-01-01T00:00:00Z")
    assert (await http_get("127.0.0.1", port)).startswith("two"), "who has the port keeps it"
    assert node.balancers.pending
    assert [key for key, _ in node.api.patches] == ["a/late"]
    name, reason, message = node.api.events[-1]
    assert (name, reason) == ("early", "PortTaken") and "a/late" in message
    await node.sync()
    assert len(node.api.events) == 1, "said once"
    del node.objects["services"]["a", "late"]
    await node.sync()
    assert (await http_get("127.0.0.1", port)).startswith("one")
    assert node.api.events[-1][1] == "Published" and not node.balancers.pending


async def test_a_port_of_another_process_is_named(node: Any, listener: Any) -> None:
    web = await node.pod("web", listen=(8000,))
    taken = listener(socket.create_server(("127.0.0.1", 0)))
    port = taken.getsockname()[1]
    await publish(node, "web", [web], port)
    assert node.balancers.pending and node.api.patches == []
    message = node.api.events[-1][2]
    assert str(port) in message and f"(process {os.getpid()})" in message
    with pytest.raises(ConnectionRefusedError):
        await http_get("::1", port)  # with all its addresses or not at all
    taken.close()
    await node.sync()
    assert (await http_get("127.0.0.1", port)).startswith("web")
    assert (await http_get("::1", port)).startswith("web")


async def test_a_service_that_is_no_balancer_any_more_loses_its_status(node: Any) -> None:
    web = await node.pod("web", listen=(8000,))
    port = free_port()
    await publish(node, "web", [web], port)
    node.service("web", [web], ports=[(port, 8000)])
    node.objects["services"]["a", "web"]["status"] = {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}
    await node.sync()
    assert status(node, "web") is None
    with pytest.raises(ConnectionRefusedError):
        await http_get("127.0.0.1", port)


async def test_another_class_of_balancer_is_left_alone(node: Any) -> None:
    web = await node.pod("web", listen=(8000,))
    await publish(node, "web", [web], free_port(), loadBalancerClass="example.org/other")
    assert node.api.patches == [] and node.balancers.published == {}


def test_holders_are_found_on_wildcards_too(listener: Any) -> None:
    taken = listener(socket.create_server(("0.0.0.0", 0)))
    port = taken.getsockname()[1]
    assert f"(process {os.getpid()})" in (find_holder("127.0.0.9", port) or "")
    assert find_holder("::1", port) is None
    both = listener(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True))
    assert find_holder("127.0.0.9", both.getsockname()[1]) is not None


class TestOnAnOuterAddress:
    @pytest.fixture
    def host_addresses(self) -> tuple[str, ...]:
        return ("127.0.0.1", "198.18.99.1")

    @pytest.fixture
    async def outside(self, node: Any) -> Any:
        """A client of another network, whose host has 198.18.99.1 on this side."""
        name = f"out-{node.config.name}"
        lines = f"""netns add {name}
link add {name} type veth peer name eth0 netns {name}
address add 198.18.99.1/30 dev {name}
link set {name} up
"""
        inner = "address add 198.18.99.2/30 dev eth0\nlink set eth0 up\nroute add default via 198.18.99.1\n"
        await asyncio.to_thread(subprocess.run, ["ip", "-batch", "-"], input=lines, text=True, check=True)
        await asyncio.to_thread(subprocess.run, ["ip", "-n", name, "-batch", "-"], input=inner, text=True, check=True)
        pod = type("Outside", (), {"attachment": type("A", (), {"namespace": Path("/run/netns", name)})})
        yield pod
        await asyncio.to_thread(subprocess.run, ["ip", "netns", "delete", name], check=True)

    async def test_the_server_sees_its_clients_own_address(self, node: Any, outside: Any) -> None:
        web = await node.pod("web", listen=(8000,))
        client = await node.pod("client")
        port = free_port()
        await publish(node, "web", [web], port)
        assert await node.get(outside, "198.18.99.1", port) == ["web 198.18.99.2 8000"]
        assert await node.get(client, "198.18.99.1", port) == [f"web {client.address} 8000"]
        assert await node.get(None, "198.18.99.1", port) == [f"web {node.config.bridge_address} 8000"]
        assert (await http_get("127.0.0.1", port)).startswith("web")
        assert status(node, "web") == [{"ip": "127.0.0.1"}, {"ip": "198.18.99.1"}]

    async def test_source_ranges_are_honoured(self, node: Any, outside: Any) -> None:
        web = await node.pod("web", listen=(8000,))
        port = free_port()
        await publish(node, "web", [web], port, loadBalancerSourceRanges=["198.18.99.0/30"])
        assert await node.get(outside, "198.18.99.1", port) == ["web 198.18.99.2 8000"]
        await publish(node, "web", [web], port, loadBalancerSourceRanges=["203.0.113.0/24"])
        assert await node.get(outside, "198.18.99.1", port) == ["error ECONNREFUSED"]

    async def test_a_port_that_a_process_of_the_host_has_is_not_taken_from_it(self, node: Any, listener: Any) -> None:
        web = await node.pod("web", listen=(8000,))
        taken = listener(socket.create_server(("0.0.0.0", 0)))
        await publish(node, "web", [web], taken.getsockname()[1])
        assert node.balancers.pending and "198.18.99.1" in node.api.events[-1][2]

    async def test_a_policy_of_egress_judges_published_ports_by_their_pods(self, node: Any, outside: Any) -> None:
        node.namespace("a")
        web = await node.pod("web", labels={"app": "web"}, listen=(8000,))
        client = await node.pod("client", labels={"app": "client"})
        port = free_port()
        await publish(node, "web", [web], port)
        assert await node.get(client, "198.18.99.1", port) == [f"web {client.address} 8000"]
        block = {"ipBlock": {"cidr": "198.18.99.0/24"}}
        selector = {"matchLabels": {"app": "client"}}
        node.policy("out", podSelector=selector, policyTypes=["Egress"], egress=[{"to": [block]}])
        await node.sync()
        assert await node.get(client, "198.18.99.1", port) == ["error EHOSTUNREACH"]

    async def test_udp_is_published_by_translation(self, node: Any, outside: Any) -> None:
        web = await node.pod("web", listen=(8000,))
        node.service("web", [web], ports=[(5399, 5353)], protocol="UDP", type="LoadBalancer")
        await node.sync()
        assert await node.udp(outside, "198.18.99.1", 5399) == ["web 198.18.99.2"]


class TestFirewalls:
    async def test_dockers_chain_gets_accepts_that_teardown_removes(self, node: Any) -> None:
        """A chain DOCKER-USER in a table `filter`, whose FORWARD drops, as Docker leaves it."""

        def nft(script: str) -> str:
            done = subprocess.run(["nft", "-f", "-"], input=script, capture_output=True, text=True, check=True)
            return done.stdout

        there = ["nft", "list", "table", "ip", "filter"]
        if (await asyncio.to_thread(subprocess.run, there, capture_output=True)).returncode == 0:
            pytest.skip("the machine has a table filter of its own")
        add = "add chain ip filter FORWARD { type filter hook forward priority 0; policy accept; }\n"
        one = await node.pod("one", listen=(8000,))
        two = await node.pod("two")
        assert (await node.get(two, one.address, 8000))[0].startswith("one")
        drop = f"add rule ip filter FORWARD ip daddr {node.config.pod_range} drop\n"
        script = f"add table ip filter\n{add}add chain ip filter DOCKER-USER\n"
        script += f"add rule ip filter FORWARD jump DOCKER-USER\n{drop}"
        await asyncio.to_thread(nft, script)
        try:
            assert (await node.get(two, one.address, 8000))[0].startswith("error")
            await asyncio.to_thread(firewalls.add_accepts, node.config)
            await asyncio.to_thread(firewalls.add_accepts, node.config)
            assert (await node.get(two, one.address, 8000))[0].startswith("one")
            assert _rules().count(f"binderops-{node.config.name}") == 2
            await asyncio.to_thread(firewalls.remove_accepts, node.config)
            assert f"binderops-{node.config.name}" not in _rules()
        finally:
            await asyncio.to_thread(nft, "delete table ip filter\n")


def _rules() -> str:
    argv = ["iptables-nft", "-S", "DOCKER-USER"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
