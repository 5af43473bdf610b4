"""nft itself reads every script that we can write (`nft -c`: checked, not applied)."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binderops.node.network.intervals import EVERYWHERE, union
from binderops.node.network.podrules import Surroundings, render, service_access
from binderops.node.network.policies import PodRules, PortRange, Reach
from binderops.node.network.ruleset import Ruleset, Table, build_ruleset, difference
from binderops.node.network.services import Backend, Frontend, ServicePort

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="nft asks the kernel")]

_NUMBERS = st.integers(0, 2**32 - 1)
_PAIRS = st.tuples(_NUMBERS, _NUMBERS).map(sorted).map(lambda pair: (pair[0], pair[1]))
_BOUNDS = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(sorted)
_PORTS = st.builds(lambda p, b: PortRange(p, b[0], b[1]), st.sampled_from(["TCP", "UDP", "SCTP"]), _BOUNDS)
_REACHES = st.builds(
    Reach,
    st.just(EVERYWHERE) | st.lists(_PAIRS, min_size=1, max_size=4).map(union),
    st.none() | st.lists(_PORTS, min_size=1, max_size=4).map(tuple),
)
_ADDRESSES = st.integers(1, 250).map(lambda last: f"10.1.0.{last}")
_SERVICE_PORTS = st.builds(
    ServicePort,
    namespace=st.sampled_from(["a", "b" * 63]),
    service=st.sampled_from(["web", "x" * 63]),
    name=st.sampled_from(["", "http"]),
    protocol=st.sampled_from(["TCP", "UDP"]),
    port=st.integers(1, 65535),
    cluster_ip=st.integers(1, 250).map(lambda last: f"10.2.0.{last}"),
    node_port=st.sampled_from([0, 30000, 32767]),
    backends=st.lists(st.builds(Backend, _ADDRESSES, st.integers(1, 65535)), max_size=3, unique=True).map(tuple),
    affinity_seconds=st.sampled_from([0, 1, 86400]),
    source_ranges=st.sampled_from([(), ("10.0.0.0/8", "192.0.2.0/24")]),
)
_SERVICES = st.lists(
    _SERVICE_PORTS, max_size=4, unique_by=(lambda port: port.cluster_frontend, lambda port: (port.service, port.port))
)
_TABLE = Table("check", "10.1.0.0/20", "10.2.0.0/20", "10.2.0.1", "bo-check", "bo1234")


def check(script: str) -> None:
    done = subprocess.run(
        ["nft", "-c", "-f", "-"], input=script, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, f"{done.stderr}\n{script}"


@given(st.none() | st.lists(_REACHES, max_size=3), st.none() | st.lists(_REACHES, max_size=3), _SERVICES)
@settings(max_examples=60, deadline=None)
def test_scripts_of_pods(ingress: list[Reach] | None, egress: list[Reach] | None, services: list[ServicePort]) -> None:
    frontends = {port.cluster_frontend: port for port in services}
    outer = tuple(Frontend("192.0.2.1", port.protocol, port.port) for port in services)
    rules = PodRules(
        None if ingress is None else tuple(dict.fromkeys(ingress)),
        None if egress is None else tuple(dict.fromkeys(egress)),
    )
    around = Surroundings("10.2.0.1", "10.2.0.0/20", tuple(dict.fromkeys(outer)))
    check(render(rules, service_access(rules.egress or (), frontends), around))


@given(_SERVICES, _SERVICES, st.lists(_ADDRESSES, max_size=3, unique=True))
@settings(max_examples=60, deadline=None)
def test_scripts_of_the_node(before: list[ServicePort], after: list[ServicePort], pods: list[str]) -> None:
    published = {Frontend("192.0.2.1", port.protocol, port.port): port for port in after}
    old, new = build_ruleset(before, {}, pods), build_ruleset(after, published, pods[1:])
    table = _TABLE.name
    script = _TABLE.base()
    for change in (difference(table, Ruleset(), old), difference(table, old, new), difference(table, new, Ruleset())):
        script += change
    check(script)
