"""Who may reach whom: the policies that stand between users' code and the rest."""

from __future__ import annotations

import base64
from typing import Any

import helm_python
import pytest
import yaml
from tests.charts.conftest import Rendered, at

from binderops.git.hosts import is_public
from binderops.target.egress import PRIVATE_RANGES

PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
CLOSED = [str(network) for network in PRIVATE_RANGES]


def egress(objects: Rendered, policy: str) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = objects["NetworkPolicy", policy]["spec"]["egress"]
    return rules


def open_blocks(rules: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """(CIDR, ports) of every rule to an address range, without DNS."""
    found = set()
    for rule in rules:
        ports = ",".join(str(port["port"]) for port in rule.get("ports", [])) or "all"
        found |= {(peer["ipBlock"]["cidr"], ports) for peer in rule["to"] if "ipBlock" in peer and ports != "53,53"}
    return found


def test_servers_reach_the_web_and_nothing_private(local: Rendered) -> None:
    assert open_blocks(egress(local, "singleuser")) == set()
    assert open_blocks(egress(local, "binder-users")) == {("0.0.0.0/0", "80,443,9418")}
    (web,) = (rule for rule in egress(local, "binder-users") if rule["to"][0].get("ipBlock", {}).get("except"))
    assert web["to"][0]["ipBlock"]["except"] == CLOSED


def test_what_is_closed_to_servers_the_binder_asks_for_nobody() -> None:
    assert {"168.63.129.16/32", "169.254.0.0/16", "192.0.0.0/24"} <= set(CLOSED), "where clouds answer about a machine"
    assert [str(network) for network in PRIVATE_RANGES if any(map(is_public, (network[0], network[-1])))] == []


def test_servers_and_builds_ask_the_clusters_dns_alone(local: Rendered, render: Any) -> None:
    def asked(objects: Rendered, policy: str) -> list[Any]:
        return [peer for rule in egress(objects, policy) for peer in rule["to"] if rule["ports"][0]["port"] == 53]

    system = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    for policy in ("singleuser", "binder-users"):
        assert asked(local, policy) == [system], policy
    key = "binderhub.jupyterhub.singleuser.networkPolicy.egressAllowRules"
    opened = render(at(key, {"dnsPortsPrivateIPs": True, "dnsPortsCloudMetadataServer": True}))
    blocks = {"169.254.169.254/32", *PRIVATE}
    for policy in ("singleuser", "binder-users"):
        found = {peer["ipBlock"]["cidr"] for peer in asked(opened, policy) if "ipBlock" in peer}
        assert found == blocks, policy


def test_binder_users_selects_servers_and_builds(local: Rendered) -> None:
    spec = local["NetworkPolicy", "binder-users"]["spec"]
    assert spec["podSelector"] == {
        "matchLabels": {"release": "binder"},
        "matchExpressions": [
            {"key": "component", "operator": "In", "values": ["singleuser-server", "binderhub-build"]}
        ],
    }
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == []


def test_only_the_hub_and_the_proxy_reach_servers(local: Rendered) -> None:
    (rule,) = local["NetworkPolicy", "singleuser"]["spec"]["ingress"]
    assert rule == {
        "ports": [{"port": "notebook-port"}],
        "from": [{"podSelector": {"matchLabels": {"hub.jupyter.org/network-access-singleuser": "true"}}}],
    }


def test_builds_reach_the_registry_and_a_private_index(render: Any) -> None:
    objects = render(at("global.machine.packageIndexEgress", [{"cidr": "10.1.2.3/32", "port": 3141}]))
    assert open_blocks(egress(objects, "binder-builds")) == {("10.1.2.3/32", "3141")}
    peers = [rule["to"][0]["podSelector"]["matchLabels"]["component"] for rule in egress(objects, "binder-builds")[:2]]
    assert peers == ["registry", "binder"]
    # Not the binder's pages: a build's own words are no visitor's.
    ports = [rule["ports"] for rule in egress(objects, "binder-builds")[:2]]
    assert ports == [[{"port": 5000, "protocol": "TCP"}], [{"port": 8586, "protocol": "TCP"}]]
    assert "10.1.2.3/32" not in str(egress(objects, "binder-users"))


@pytest.mark.parametrize(
    ("cidr", "closed"),
    [
        ("0.0.0.0/0", CLOSED),
        ("0.0.0.0/1", ["10.0.0.0/8", "100.64.0.0/10"]),
        ("128.0.0.0/1", [each for each in CLOSED if int(each.partition(".")[0]) >= 128]),
        ("192.0.0.0/8", ["192.168.0.0/16", "192.0.0.0/24"]),
        ("172.16.0.0/11", ["172.16.0.0/12"]),
        ("198.51.100.0/24", None),
        ("10.0.0.0/8", None),  # what the operator opens by its own name
        ("10.1.0.0/16", None),
        ("203.0.113.7/32", None),
    ],
)
def test_a_narrower_outside_keeps_closed_what_it_holds(render: Any, cidr: str, closed: list[str] | None) -> None:
    objects = render(at("binderhub.networkPolicy.egress.cidr", cidr))
    for policy in ("binder-users", "binder"):
        (block,) = (
            peer["ipBlock"]
            for rule in egress(objects, policy)
            for peer in rule["to"]
            if "ipBlock" in peer and [port["port"] for port in rule["ports"]] == [80, 443, 9418]
        )
        assert (block["cidr"], block.get("except")) == (cidr, closed), policy


@pytest.mark.parametrize(
    ("cidr", "bans", "left"),
    [
        ("203.0.113.0/24", {"pools": ["203.0.113.7", "203.0.113.64/26"], "more": ["203.0.113.7/32", "192.0.2.1"]},
         ["203.0.113.7/32", "203.0.113.64/26"]),
        ("203.0.113.0/24", {"gone": None, "none": []}, None),
        ("0.0.0.0/0", {"own": ["203.0.113.7"]}, [*CLOSED, "203.0.113.7/32"]),
        ("203.0.113.0/24", {"all": ["203.0.113.0/24"]}, "nothing"),
        ("203.0.113.0/24", {"more": ["203.0.112.0/23"]}, "nothing"),
        ("203.0.113.7/32", {"it": ["203.0.113.7"]}, "nothing"),
    ],
)  # fmt: skip
def test_banned_addresses_are_reached_by_nobody(render: Any, cidr: str, bans: Any, left: Any) -> None:
    objects = render(at("binderhub.networkPolicy.egress", {"cidr": cidr, "bannedIps": bans}))
    for policy in ("binder-users", "binder"):
        blocks = [
            peer["ipBlock"]
            for rule in egress(objects, policy)
            for peer in rule["to"]
            if "ipBlock" in peer and [port["port"] for port in rule["ports"]] == [80, 443, 9418]
        ]
        found = blocks[0].get("except") if blocks else "nothing"
        assert found == left, policy


@pytest.mark.parametrize("ban", ["pool.example.org", "2001:db8::1", "203.0.113"])
def test_a_ban_of_what_is_no_address_is_refused(render: Any, ban: str) -> None:
    with pytest.raises(helm_python.HelmValuesError, match="bannedIps"):
        render(at("binderhub.networkPolicy.egress.bannedIps", {"own": [ban]}))


def test_the_binder_reaches_its_own_parts_and_the_web(local: Rendered) -> None:
    spec = local["NetworkPolicy", "binder"]["spec"]
    assert spec["podSelector"] == {"matchLabels": {"app": "binder", "component": "binder", "release": "binder"}}
    assert spec["policyTypes"] == ["Egress"]
    # Rendered without a cluster, which would tell where its API is.
    api = {(cidr, "443,6443") for cidr in PRIVATE}
    assert open_blocks(egress(local, "binder")) == {("0.0.0.0/0", "80,443,9418"), *api}
    peers = {
        rule["to"][0]["podSelector"]["matchLabels"]["component"]
        for rule in egress(local, "binder")
        if "podSelector" in rule["to"][0]
    }
    assert peers == {"registry", "proxy", "hub", "controller"}


def test_the_kubernetes_api_where_it_is_told(render: Any) -> None:
    told = [{"cidr": "10.9.8.7/32", "port": 16545}]
    objects = render(at("binderhub.networkPolicy.egress.kubernetesApi", told))
    assert open_blocks(egress(objects, "binder")) == {("0.0.0.0/0", "80,443,9418"), ("10.9.8.7/32", "16545")}


def test_internal_hosts_open_policies_and_are_told_to_the_binder(render: Any) -> None:
    hosts = [{"host": "git.internal", "cidr": "10.1.2.3/32", "ports": [8443]}, {"cidr": "10.9.9.0/24"}]
    objects = render(at("binderhub.networkPolicy.egress.internalHosts", hosts))
    opened = {("10.1.2.3/32", "8443"), ("10.9.9.0/24", "80,443,9418")}
    assert opened < open_blocks(egress(objects, "binder"))
    assert opened <= open_blocks(egress(objects, "binder-builds"))
    assert not opened & open_blocks(egress(objects, "binder-users"))
    values = yaml.safe_load(base64.b64decode(objects["Secret", "binder-secret"]["data"]["values.yaml"]))
    assert values["networkPolicy"]["egress"]["internalHosts"] == hosts


def test_allow_rules_switch_one_by_one(render: Any) -> None:
    key = "binderhub.jupyterhub.hub.networkPolicy.egressAllowRules"
    off = dict.fromkeys(
        (
            "cloudMetadataServer",
            "dnsPortsCloudMetadataServer",
            "dnsPortsKubeSystemNamespace",
            "dnsPortsPrivateIPs",
            "nonPrivateIPs",
            "privateIPs",
        ),
        False,
    )
    assert len(egress(render(at(key, off)), "hub")) == 2  # the proxy and users' servers
    for name in off:
        assert len(egress(render(at(key, {**off, name: True})), "hub")) == 3, name


def test_own_rules_and_other_namespaces(render: Any) -> None:
    own = {"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}]}
    policy = {"egress": [own], "ingress": [{}], "interNamespaceAccessLabels": "accept"}
    objects = render(at("binderhub.jupyterhub.hub.networkPolicy", policy))
    assert egress(objects, "hub")[-1] == own
    ingress = objects["NetworkPolicy", "hub"]["spec"]["ingress"]
    assert ingress[0]["from"][0]["namespaceSelector"] == {}
    assert ingress[-1] == {}
