"""Who may reach whom: the policies that stand between users' code and the rest."""

from __future__ import annotations

from typing import Any

from tests.charts.conftest import Rendered, at

PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]


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
    assert web["to"][0]["ipBlock"]["except"] == [*PRIVATE, "100.64.0.0/10", "169.254.0.0/16"]


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
    assert "10.1.2.3/32" not in str(egress(objects, "binder-users"))


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
