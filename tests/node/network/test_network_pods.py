from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.errors import NetworkError
from binderops.node.config import NodeConfig
from binderops.node.network import PodNetwork, ensure_base, links, teardown
from binderops.node.network import pods as pods_module
from binderops.node.network.addresses import AddressPool
from binderops.node.network.names import is_namespace_of, parse_alias, pod_names, veth_prefix
from binderops.node.network.sysctls import SysctlRecord


def run(*argv: str, stdin: str = "") -> str:
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=True, timeout=20).stdout


@pytest.mark.root
async def test_pods_reach_each_other_with_their_own_addresses(node: Any) -> None:
    one = await node.pod("one", listen=(8000,))
    two = await node.pod("two")
    assert await node.get(two, one.address, 8000) == [f"one {two.address} 8000"]
    assert await node.get(None, one.address, 8000) == [f"one {node.config.bridge_address} 8000"]
    assert await node.get(one, "127.0.0.1", 8000) == ["one 127.0.0.1 8000"]
    assert await node.get(one, one.address, 8000) == [f"one {one.address} 8000"]
    assert one.attachment.namespace == Path(f"/run/netns/bo-{node.config.name}-{one.uid[:8]}")


@pytest.mark.root
async def test_an_absent_pod_and_an_absent_service_answer_at_once(node: Any) -> None:
    one = await node.pod("one")
    await node.sync()
    absent = node.config.pod_range.split("/")[0].rsplit(".", 1)[0] + ".0"
    assert await node.get(one, absent, 80) == ["error EHOSTUNREACH"]
    service = node.config.service_range.split("/")[0].rsplit(".", 1)[0] + ".200"
    assert await node.get(one, service, 80) == ["error ECONNREFUSED"]
    assert await node.get(None, service, 80) == ["error ECONNREFUSED"]


@pytest.mark.root
async def test_attach_is_idempotent_and_networks_are_found_again(node: Any) -> None:
    one = await node.pod("one", listen=(8000,))
    assert await node.network.attach(one.object) == one.attachment
    restarted = PodNetwork(node.config)
    assert await restarted.attached() == {one.uid: one.attachment}
    restarted.follow(node.view, {})
    assert await restarted.attach(one.object) == one.attachment
    two = await node.pod("two")
    assert await node.get(two, one.address, 8000) == [f"one {two.address} 8000"]


@pytest.mark.root
async def test_detach_removes_everything_and_the_address_rests(node: Any) -> None:
    one = await node.pod("one")
    await node.network.detach(one.uid)
    await node.network.detach(one.uid)
    assert not one.attachment.namespace.exists()
    assert one.address not in run("ip", "route")
    assert await node.network.attached() == {}
    assert (await node.pod("two")).address != one.address


@pytest.mark.root
async def test_what_a_killed_attach_left_is_cleared(node: Any) -> None:
    names = pod_names(node.config.name, "12345678-0000-4000-8000-000000000000")
    run("ip", "netns", "add", names.namespace)
    run("ip", "link", "add", names.veth, "type", "veth", "peer", "name", "eth0", "netns", names.namespace)
    assert await PodNetwork(node.config).attached() == {}
    assert not names.path.exists() and names.veth not in run("ip", "link")


@pytest.mark.root
async def test_a_failed_attach_leaves_nothing(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NetworkError("no")

    monkeypatch.setattr(links, "configure_inside", refuse)
    with pytest.raises(NetworkError):
        await node.pod("one")
    assert list(links.namespaces_of(node.config.name)) == []
    assert veth_prefix(node.config.name) not in run("ip", "link")


@pytest.mark.root
async def test_a_cancelled_attach_leaves_a_whole_network(node: Any) -> None:
    pod = {"metadata": {"name": "one", "namespace": "a", "uid": "12345678-0000-4000-8000-000000000000"}, "spec": {}}
    task = asyncio.create_task(node.network.attach(pod))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    attachment = await node.network.attach(pod)
    assert len(list(links.namespaces_of(node.config.name))) == 1
    assert await PodNetwork(node.config).attached() == {pod["metadata"]["uid"]: attachment}


@pytest.mark.root
async def test_no_pod_starts_before_policies_are_known(config: NodeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pods_module, "SYNC_SECONDS", 0.05)
    pod = {"metadata": {"name": "one", "namespace": "a", "uid": "x"}, "spec": {}}
    with pytest.raises(NetworkError, match="a/one"):
        await PodNetwork(config).attach(pod)


@pytest.mark.root
async def test_many_at_once_get_addresses_of_their_own(node: Any) -> None:
    pods = await asyncio.gather(*(node.pod(f"p{i}") for i in range(20)))
    assert len({pod.address for pod in pods}) == 20
    await asyncio.gather(*(node.network.detach(pod.uid) for pod in pods))
    assert await PodNetwork(node.config).attached() == {}


@pytest.mark.root
@pytest.mark.parametrize("kernel_checks", ["0", "1"])
async def test_a_pod_cannot_send_from_another_address(node: Any, kernel_checks: str) -> None:
    await node.sync()
    one = await node.pod("one", listen=(8000,))
    two = await node.pod("two")
    three = await node.pod("three")
    Path("/proc/sys/net/ipv4/conf", pod_names(node.config.name, two.uid).veth, "rp_filter").write_text(kernel_checks)
    run("ip", "-n", two.attachment.namespace.name, "address", "add", f"{three.address}/32", "dev", "eth0")
    send = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        f"s.bind(('%s', 0)); s.sendto(b'x', ('{one.address}', 5353))"
    )
    counter = "meta l4proto udp ip saddr"
    table = "table ip seen {\n chain input {\n type filter hook input priority -300;\n"
    script = f"{table} {counter} {two.address} counter\n {counter} {three.address} counter\n }}\n}}\n"
    netns = ["ip", "netns", "exec"]
    run(*netns, one.attachment.namespace.name, "nft", "-f", "-", stdin=script)
    for address in (three.address, two.address):
        run(*netns, two.attachment.namespace.name, "python3", "-c", send % address)
    seen = json.loads(run(*netns, one.attachment.namespace.name, "nft", "-j", "list", "table", "ip", "seen"))
    packets = [
        part["counter"]["packets"]
        for entry in seen["nftables"]
        for part in entry.get("rule", {}).get("expr", [])
        if "counter" in part
    ]
    assert packets == [1, 0]


@pytest.mark.root
async def test_ipv6_does_not_leave_a_pod(node: Any) -> None:
    one = await node.pod("one")
    shown = run("ip", "-n", one.attachment.namespace.name, "-6", "address")
    assert "::1/128" in shown and "fe80" not in shown
    assert run("ip", "-6", "address", "show", "dev", pod_names(node.config.name, one.uid).veth) == ""


@pytest.mark.root
async def test_teardown_leaves_nothing(config: NodeConfig) -> None:
    await ensure_base(config)
    await ensure_base(config)
    network = PodNetwork(config)
    await teardown(config)
    await teardown(config)
    shown = run("ip", "link") + run("ip", "route") + run("nft", "list", "tables") + run("ip", "netns")
    assert config.bridge not in shown and config.name not in shown and veth_prefix(config.name) not in shown
    assert await network.attached() == {}


def test_sysctls_are_put_back(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    name = "net/ipv4/conf/lo/log_martians"
    path = Path("/proc/sys", name)
    before = path.read_text().strip()
    other = "0" if before == "1" else "1"
    record = SysctlRecord(tmp_path / "record.json")
    record.change({name: other})
    SysctlRecord(tmp_path / "record.json").change({name: other})
    assert path.read_text().strip() == other
    SysctlRecord(tmp_path / "record.json").restore()
    assert path.read_text().strip() == before
    assert not (tmp_path / "record.json").exists()


def test_a_setting_that_is_high_enough_stays(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    name = "net/ipv4/neigh/lo/proxy_qlen"
    path = Path("/proc/sys", name)
    before = int(path.read_text())
    record = SysctlRecord(tmp_path / "record.json")
    record.raise_to({name: before - 1})
    assert int(path.read_text()) == before and not (tmp_path / "record.json").exists()
    record.raise_to({name: before + 1})
    assert int(path.read_text()) == before + 1
    record.restore()
    assert int(path.read_text()) == before


@given(st.lists(st.integers(-1, 20), max_size=200), st.integers(0, 13))
def test_addresses_are_never_shared_and_rest_before_they_return(steps: list[int], start: int) -> None:
    pool = AddressPool("10.0.0.0/28", start=start)
    held: list[str] = []
    released: list[str] = []
    for step in steps:
        if step >= 0 and held:
            address = held.pop(step % len(held))
            pool.release(address)
            released.append(address)
        elif len(held) < 14:
            free = 14 - len(held)
            address = pool.allocate()
            assert address not in held
            assert address not in ("10.0.0.0", "10.0.0.15")
            assert free == 1 or not released or address != released[-1]
            held.append(address)
        else:
            with pytest.raises(NetworkError, match="no free pod address"):
                pool.allocate()


@given(
    st.text("0123456789abcdef-", min_size=1, max_size=40),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True),
)
def test_names_fit_and_are_recognised(uid: str, node: str) -> None:
    for attempt in range(3):
        names = pod_names(node, uid, attempt=attempt)
        assert len(names.veth) <= 15
        assert is_namespace_of(node, names.namespace)
        assert not is_namespace_of(node + "x", names.namespace)


def test_another_nodes_namespace_is_not_ours() -> None:
    assert not is_namespace_of("a", "bo-a-b-12345678")
    assert parse_alias("somebody's") is None
