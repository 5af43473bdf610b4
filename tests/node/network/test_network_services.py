from __future__ import annotations

import asyncio
import subprocess
import time
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from binderops.node.network.base import ensure_base, teardown
from binderops.node.network.ruleset import Ruleset, build_ruleset, difference
from binderops.node.network.services import Backend, ServicePort, read_service_ports

pytestmark = pytest.mark.root

BRIDGE_NF = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


async def test_a_service_is_reached_with_the_clients_own_address(node: Any) -> None:
    web = await node.pod("web", listen=(8000,))
    client = await node.pod("client")
    address = node.service("web", [web])
    await node.sync()
    assert await node.get(client, address, 80) == [f"web {client.address} 8000"]
    assert await node.get(None, address, 80) == [f"web {node.config.bridge_address} 8000"]
    assert await node.get(client, address, 81) == ["error ECONNREFUSED"]


@pytest.mark.parametrize("value", ["0", "1"])
async def test_it_works_whatever_bridge_netfilter_does(node: Any, value: str) -> None:
    if not BRIDGE_NF.exists():
        pytest.skip("br_netfilter is not there")
    web = await node.pod("web", listen=(8000,))
    client = await node.pod("client")
    address = node.service("web", [web])
    await node.sync()
    before = BRIDGE_NF.read_text()
    BRIDGE_NF.write_text(value)
    try:
        assert await node.get(client, address, 80) == [f"web {client.address} 8000"]
        assert await node.get(web, address, 80) == [f"web {node.config.bridge_address} 8000"]
    finally:
        BRIDGE_NF.write_text(before)


async def test_a_pod_reaches_itself_through_its_service(node: Any) -> None:
    web = await node.pod("web", listen=(8000,))
    other = await node.pod("other", listen=(8000,))
    address = node.service("web", [web, other])
    await node.sync()
    answers = await node.get(web, address, 80, count=20)
    assert {answer.split()[0] for answer in answers} == {"web", "other"}
    seen = {answer.split()[0]: answer.split()[1] for answer in answers}
    assert seen == {"web": node.config.bridge_address, "other": web.address}


async def test_every_ready_endpoint_gets_traffic_and_changes_are_followed(node: Any) -> None:
    pods = [await node.pod(f"web{i}", listen=(8000,)) for i in range(3)]
    client = await node.pod("client")
    address = node.service("web", pods)
    await node.sync()
    assert {a.split()[0] for a in await node.get(client, address, 80, count=60)} == {"web0", "web1", "web2"}
    node.service("web", pods[:1])
    await node.sync()
    assert {a.split()[0] for a in await node.get(client, address, 80, count=20)} == {"web0"}
    node.service("web", [])
    await node.sync()
    assert await node.get(client, address, 80) == ["error ECONNREFUSED"]
    assert await node.get(None, address, 80) == ["error ECONNREFUSED"]
    node.service("web", pods[1:])
    await node.sync()
    assert {a.split()[0] for a in await node.get(client, address, 80, count=40)} == {"web1", "web2"}
    del node.objects["services"]["a", "web"]
    await node.sync()
    assert await node.get(client, address, 80) == ["error ECONNREFUSED"]


async def test_session_affinity_keeps_a_client_at_its_endpoint(node: Any) -> None:
    pods = [await node.pod(f"web{i}", listen=(8000,)) for i in range(3)]
    clients = [await node.pod(f"client{i}") for i in range(4)]
    address = node.service("web", pods[:2], sessionAffinity="ClientIP")
    await node.sync()
    first = [await node.get(client, address, 80, count=8) for client in clients]
    assert all(len(set(answers)) == 1 for answers in first)
    node.service("web", pods, sessionAffinity="ClientIP")
    await node.sync()
    again = [await node.get(client, address, 80, count=4) for client in clients]
    assert [set(answers) for answers in again] == [set(answers) for answers in first]


async def test_node_ports_answer_on_the_hosts_addresses(node: Any) -> None:
    web = await node.pod("web", listen=(8000,))
    client = await node.pod("client")
    node.service("web", [web], type="NodePort", node_port=31999)
    await node.sync()
    assert await node.get(client, node.config.bridge_address, 31999) == [f"web {client.address} 8000"]
    assert await node.get(None, node.config.bridge_address, 31999) == [f"web {node.config.bridge_address} 8000"]


async def test_udp_flows_leave_an_endpoint_that_is_gone(node: Any) -> None:
    one = await node.pod("one", listen=(8000,))
    two = await node.pod("two", listen=(8000,))
    client = await node.pod("client")
    address = node.service("dns", [], ports=[(53, 5353)], protocol="UDP")
    await node.sync()
    assert (await node.udp(client, address, 53, own_port=40000))[0].startswith("error")
    node.service("dns", [one], ports=[(53, 5353)], protocol="UDP")
    await node.sync()
    assert await node.udp(client, address, 53, own_port=40000) == [f"one {client.address}"]
    node.service("dns", [two], ports=[(53, 5353)], protocol="UDP")
    await node.sync()
    assert await node.udp(client, address, 53, own_port=40000) == [f"two {client.address}"]


async def test_what_leaves_the_machine_is_masqueraded(node: Any, tmp_path: Path) -> None:
    """Another network behind the host: a namespace that knows the host's address and none of the pods'."""
    name = f"out-{node.config.name}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "address", "add", "198.18.77.1/30", "dev", name)
        run("ip", "link", "set", name, "up")
        run("ip", "-n", name, "address", "add", "198.18.77.2/30", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        client = await node.pod("client")
        await node.sync()
        serve = "import socket; s = socket.create_server(('', 80)); print('ready', flush=True); c, a = s.accept(); "
        serve += "c.recv(99); c.sendall(b'HTTP/1.1 200 OK\\r\\n\\r\\n' + a[0].encode()); c.close()"
        argv = ["ip", "netns", "exec", name, "python3", "-c", serve]
        process = await asyncio.to_thread(subprocess.Popen, argv, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
            assert await node.get(client, "198.18.77.2", 80) == ["198.18.77.1"]
        finally:
            process.kill()
            process.wait()
    finally:
        run("ip", "netns", "delete", name)


async def test_a_restarted_node_takes_the_table_over_without_a_gap(node: Any) -> None:
    web = await node.pod("web", listen=(8000,))
    client = await node.pod("client")
    address = node.service("web", [web])
    await node.sync()
    second = type(node)(node.config)
    second.objects.update(node.objects)
    second.view.services, second.view.slices, second.view.pods = (
        node.objects["services"],
        node.objects["slices"],
        node.objects["pods"],
    )
    answers, _ = await asyncio.gather(node.get(client, address, 80, count=200), second.sync())
    assert set(answers) == {f"web {client.address} 8000"}


async def test_an_update_of_many_services_is_quick(node: Any) -> None:
    web = await node.pod("web", listen=(8000,))
    other = await node.pod("other", listen=(8000,))
    for index in range(200):
        node.service(f"s{index}", [web, other], ports=[(1000 + index, 8000)])
    await node.sync()
    node.service("s7", [web], ports=[(1007, 8000)])
    began = time.monotonic()
    await node.sync()
    elapsed = time.monotonic() - began
    client = await node.pod("client")
    address = node.objects["services"]["a", "s7"]["spec"]["clusterIP"]
    assert await node.get(client, address, 1007) == [f"web {client.address} 8000"]
    assert elapsed < 1.0


async def test_what_is_not_supported_is_said_once_by_name(node: Any) -> None:
    node.service("web", [], protocol="SCTP", externalIPs=["192.0.2.7"])
    await node.sync()
    await node.sync()
    ((name, reason, message),) = node.api.events
    assert (name, reason) == ("web", "NotSupported")
    assert "externalIPs" in message and "SCTP of port 80" in message


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, timeout=20)


def _port(name: str, *backends: str, **more: Any) -> ServicePort:
    pairs = tuple(Backend(address, 8000) for address in backends)
    return ServicePort("a", name, "http", "TCP", 80, "10.1.0.9", backends=pairs, **more)


def test_only_what_changed_is_written() -> None:
    first = build_ruleset([_port("x", "10.0.0.1"), _port("y", "10.0.0.2")], {}, ["10.0.0.1"])
    second = build_ruleset([_port("x", "10.0.0.1"), _port("y", "10.0.0.3")], {}, ["10.0.0.1"])
    assert difference("t", first, first) == ""
    script = difference("t", first, second)
    assert "10.0.0.3" in script and "10.0.0.1" not in script


def test_the_change_to_nothing_removes_all() -> None:
    full = build_ruleset([_port("x", "10.0.0.1", affinity_seconds=60)], {}, ["10.0.0.1"])
    lines = difference("t", full, Ruleset()).splitlines()
    for kind, count in (("delete chain", 2), ("delete set", 1), ("delete element", 2)):
        assert sum(line.startswith(kind) for line in lines) == count


@pytest.mark.parametrize(
    ("conditions", "used"),
    [
        ({}, True),
        ({"ready": True}, True),
        ({"ready": False}, False),
        ({"ready": False, "serving": True, "terminating": True}, True),
        ({"ready": False, "serving": False, "terminating": True}, False),
    ],
)
def test_which_endpoints_are_used(conditions: dict[str, bool], used: bool) -> None:
    service = {
        "metadata": {"name": "x", "namespace": "a"},
        "spec": {"clusterIP": "10.1.0.9", "ports": [{"port": 80}]},
    }
    entry = {
        "metadata": {"name": "x-1", "namespace": "a", "labels": {"kubernetes.io/service-name": "x"}},
        "ports": [{"port": 8000}],
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": conditions}],
    }
    (port,) = read_service_ports([service], [entry])
    assert port.backends == ((Backend("10.0.0.1", 8000),) if used else ())


@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": "None", "ports": [{"port": 80}]},
        {"type": "ExternalName", "externalName": "x.org", "ports": [{"port": 80}]},
        {"clusterIP": "", "ports": [{"port": 80}]},
        {"clusterIP": "fd00::1", "ports": [{"port": 80}]},
        {"clusterIP": "10.1.0.9", "ports": [{"port": 80, "protocol": "SCTP"}]},
    ],
)
def test_what_has_nothing_to_translate(spec: dict[str, Any]) -> None:
    assert read_service_ports([{"metadata": {"name": "x", "namespace": "a"}, "spec": spec}], []) == []


async def test_pods_of_two_nodes_do_not_reach_each_other(node: Any, config: Any, tmp_path: Path) -> None:
    other = type(node)(_beside(config, tmp_path))
    await ensure_base(other.config)
    other.network.follow(other.view, {})
    try:
        web = await other.pod("web", listen=(8000,))
        local = await other.pod("local")
        client = await node.pod("client")
        address = other.service("web", [web])
        await other.sync()
        await node.sync()
        assert await other.get(local, web.address, 8000) == [f"web {local.address} 8000"]
        assert await other.get(local, address, 80) == [f"web {local.address} 8000"]
        for unreachable, port in ((web.address, 8000), (address, 80), (other.config.bridge_address, 22)):
            answer = await node.get(client, unreachable, port)
            assert answer[0].startswith("error") and "REFUSED" not in answer[0], (unreachable, answer)
    finally:
        for pod in other.pods:
            if pod.server is not None:
                pod.server.communicate("", timeout=10)
        await teardown(other.config)


def _beside(config: Any, tmp_path: Path) -> Any:
    first = ip_network(config.pod_range)
    base = ip_network((int(first.network_address) ^ (1 << 15), 20))
    services = ip_network((int(base.network_address) + (1 << 12), 24))
    return msgspec.structs.replace(
        config,
        name=config.name[::-1].replace("n", "m"),
        state=tmp_path / "other",
        run=tmp_path / "other-run",
        pod_range=str(base),
        service_range=str(services),
    )
