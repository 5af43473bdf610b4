from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.node.dns.resolver import FakeResolver, resolving

from binderops.errors import MachineError
from binderops.node.dns.listener import MOST_OF_ONE, listening
from binderops.node.dns.responder import Responder
from binderops.node.dns.upstream import Upstream
from binderops.node.dns.zone import Zone

ADDRESS = "127.0.0.1"


@pytest.fixture
async def resolver() -> AsyncIterator[FakeResolver]:
    answers = {
        "pypi.org.": ["pypi.org. 60 IN A 192.0.2.80"],
        "docs.example.org.": ["docs.example.org. 60 IN A 192.0.2.81"],
        "big.example.org.": [f'big.example.org. 60 IN TXT "{i:03d}{"x" * 200}"' for i in range(20)],
    }
    async with resolving(answers, ADDRESS) as fake:
        yield fake


@pytest.fixture
def upstream(resolver: FakeResolver, tmp_path: Path) -> Upstream:
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"search example.com\nnameserver 10.0.0.53\nnameserver {ADDRESS}\nnameserver junk\n")
    return Upstream(own_address="10.0.0.53", resolv_conf=conf, port=resolver.port)


def make_zone() -> Zone:
    hub = {"metadata": {"name": "hub", "namespace": "prod"}, "spec": {"clusterIP": "10.77.16.9", "ports": []}}
    many = {"metadata": {"name": "many", "namespace": "prod"}, "spec": {"clusterIP": "None"}}
    docs = {
        "metadata": {"name": "docs", "namespace": "prod"},
        "spec": {"type": "ExternalName", "externalName": "docs.example.org"},
    }
    slices = {
        "metadata": {"name": "m", "namespace": "prod", "labels": {"kubernetes.io/service-name": "many"}},
        "endpoints": [{"addresses": [f"10.77.1.{i}"]} for i in range(1, 200)],
    }
    return Zone(domain="cluster.local", own_ranges=("10.77.0.0/19",), services=[hub, many, docs], slices=[slices])


@pytest.fixture
async def port(upstream: Upstream) -> AsyncIterator[int]:
    zone = make_zone()
    async with listening(Responder(lambda: zone, upstream, domain="cluster.local"), ADDRESS, 0) as number:
        yield number


async def ask(port: int, name: str, kind: str = "A", *, tcp: bool = False, edns: int = -1) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=edns)
    how: Callable[..., object] = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    answer = await how(query, ADDRESS, port=port, timeout=10)  # type: ignore[misc]
    assert isinstance(answer, dns.message.Message)
    return answer


def addresses(message: dns.message.Message) -> list[str]:
    return [rdata.to_text() for rrset in message.answer for rdata in rrset]


@pytest.mark.parametrize("tcp", [False, True])
async def test_cluster_names_are_answered_with_authority(port: int, tcp: bool) -> None:
    answer = await ask(port, "hub.prod.svc.cluster.local", tcp=tcp)
    assert addresses(answer) == ["10.77.16.9"]
    assert answer.flags & dns.flags.AA and answer.flags & dns.flags.RA


async def test_missing_cluster_names_say_for_how_long_and_are_not_forwarded(port: int, resolver: FakeResolver) -> None:
    answer = await ask(port, "pypi.org.prod.svc.cluster.local")
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.authority[0].rdtype == dns.rdatatype.SOA
    assert resolver.asked == []


async def test_other_names_are_forwarded_once_and_remembered(port: int, resolver: FakeResolver) -> None:
    answers = await asyncio.gather(*(ask(port, "pypi.org") for _ in range(20)))
    assert all(addresses(answer) == ["192.0.2.80"] for answer in answers)
    assert addresses(await ask(port, "PyPI.org")) == ["192.0.2.80"]
    assert resolver.asked == ["pypi.org."]


async def test_an_external_name_is_followed(port: int) -> None:
    answer = await ask(port, "docs.prod.svc.cluster.local")
    assert addresses(answer) == ["docs.example.org.", "192.0.2.81"]


async def test_a_large_answer_is_fetched_by_tcp_and_cut_for_udp(port: int) -> None:
    cut = await ask(port, "big.example.org", "TXT", edns=0)
    assert cut.flags & dns.flags.TC and not cut.answer
    whole = await ask(port, "big.example.org", "TXT", tcp=True)
    assert len(addresses(whole)) == 20


async def test_a_large_own_answer_is_cut_for_udp(port: int) -> None:
    cut = await ask(port, "many.prod.svc.cluster.local")
    assert cut.flags & dns.flags.TC
    assert len(addresses(await ask(port, "many.prod.svc.cluster.local", tcp=True))) == 199


async def test_a_silent_resolver_gives_servfail_in_time(
    port: int, resolver: FakeResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("binderops.node.dns.upstream.TRY_SECONDS", 0.1)
    resolver.silent = True
    answer = await ask(port, "slow.example.org")
    assert answer.rcode() == dns.rcode.SERVFAIL
    assert resolver.asked == ["slow.example.org."] * 2


async def test_what_is_no_query_is_refused(port: int) -> None:
    query = dns.message.make_query("hub.prod.svc.cluster.local", "A")
    query.set_opcode(dns.opcode.STATUS)
    assert (await dns.asyncquery.udp(query, ADDRESS, port=port, timeout=5)).rcode() == dns.rcode.NOTIMP
    chaos = dns.message.make_query("version.bind", "TXT", rdclass="CH")
    assert (await dns.asyncquery.udp(chaos, ADDRESS, port=port, timeout=5)).rcode() == dns.rcode.NOTIMP


async def test_resolvers_are_read_again_when_the_file_changes(upstream: Upstream, tmp_path: Path) -> None:
    assert upstream.servers() == [ADDRESS]
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.53\nnameserver ::1\n")
    assert upstream.servers() == ["127.0.0.53", "::1"]


async def test_the_cache_is_bounded(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, resolver: FakeResolver
) -> None:
    monkeypatch.setattr("binderops.node.dns.upstream.MOST_REMEMBERED", 2)
    for i in range(4):
        resolver.answers[f"h{i}.example.org."] = [f"h{i}.example.org. 60 IN A 192.0.2.{i}"]
        await upstream.resolve(dns.name.from_text(f"h{i}.example.org."), dns.rdatatype.A)
    for i in (3, 0):
        await upstream.resolve(dns.name.from_text(f"h{i}.example.org."), dns.rdatatype.A)
    assert resolver.asked.count("h3.example.org.") == 1
    assert resolver.asked.count("h0.example.org.") == 2


def packets(*names: str) -> list[bytes]:
    return [dns.message.make_query(name, "A").to_wire() for name in names]


async def test_names_that_nobody_answers_keep_no_one_else_from_the_cluster(port: int, resolver: FakeResolver) -> None:
    """One pod asks for thousands of them; the cluster's are answered all the same, and others' are forwarded."""
    resolver.silent = True
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as flooding:
        flooding.bind(("127.0.0.3", 0))
        for packet in packets(*(f"never-{number}.example.org." for number in range(3000))):
            flooding.sendto(packet, (ADDRESS, port))
            await asyncio.sleep(0)
        for name in ("hub.prod.svc.cluster.local.",) * 20:
            assert addresses(await ask(port, name)) == ["10.77.16.9"]
        assert len(resolver.asked) <= MOST_OF_ONE
        resolver.silent = False
        assert addresses(await ask(port, "pypi.org.")) == ["192.0.2.80"], "another's question is forwarded meanwhile"


async def test_idle_connections_of_one_keep_no_one_else_out(port: int) -> None:
    async with AsyncExitStack() as held:
        for _ in range(200):
            _, writer = await asyncio.open_connection(ADDRESS, port, local_addr=("127.0.0.3", 0))
            held.push_async_callback(writer.wait_closed)
            held.callback(writer.close)
        assert addresses(await ask(port, "hub.prod.svc.cluster.local.", tcp=True)) == ["10.77.16.9"]


async def test_a_taken_port_is_named(upstream: Upstream) -> None:
    with contextlib.closing(socket.create_server((ADDRESS, 0))) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(MachineError, match=str(number)):
            async with listening(Responder(make_zone, upstream, domain="cluster.local"), ADDRESS, number):
                pass


_QUERY = dns.message.make_query("hub.prod.svc.cluster.local", "A").to_wire()


@given(
    st.binary(max_size=80)
    | st.builds(lambda cut, junk: _QUERY[:cut] + junk, st.integers(0, len(_QUERY)), st.binary(max_size=40))
    | st.builds(
        lambda at, byte: _QUERY[:at] + bytes([byte]) + _QUERY[at + 1 :],
        st.integers(12, len(_QUERY) - 1),
        st.integers(0, 255),
    )
)
def test_no_packet_breaks_the_responder(data: bytes) -> None:
    responder = Responder(make_zone, Upstream(resolv_conf=Path("/nonexistent")), domain="cluster.local")
    answer = asyncio.run(responder.respond(data))
    assert answer is None or answer[:2] == data[:2]
