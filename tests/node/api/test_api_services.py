from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]} | spec}


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/services"


async def test_addresses_come_from_the_range_and_are_kept(api: Any, path: str) -> None:
    made = await api.create(path, service("a"))
    address = made["spec"]["clusterIP"]
    assert IPv4Address(address) in IPv4Network(api.running.config.service_range)
    assert made["spec"]["clusterIPs"] == [address]
    assert made["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    code, changed = await api.ask("PUT", f"{path}/a", service("a", ports=[{"port": 81}]))
    assert (code, changed["spec"]["clusterIP"]) == (200, address)
    code, status = await api.ask("POST", path, service("b", clusterIP=address))
    assert (code, "provided IP is already allocated" in status["message"]) == (422, True)
    await api.ask("DELETE", f"{path}/a")
    assert (await api.create(path, service("b", clusterIP=address)))["spec"]["clusterIP"] == address


REFUSED = [
    ({"clusterIP": "192.0.2.1"}, "is not in the valid range"),
    ({"clusterIP": "x"}, "valid IP address"),
    ({"type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]}, "valid range"),
    ({"ports": []}, "spec.ports"),
]


@pytest.mark.parametrize(("spec", "message"), REFUSED)
async def test_services_that_are_refused(api: Any, path: str, spec: dict[str, Any], message: str) -> None:
    code, status = await api.ask("POST", path, service("a", **spec))
    assert (code, message in status["message"]) == (422, True), status


async def test_headless_and_external_ones_have_no_address(api: Any, path: str) -> None:
    assert (await api.create(path, service("h", clusterIP="None")))["spec"]["clusterIPs"] == ["None"]
    made = await api.create(
        path, {"metadata": {"name": "e"}, "spec": {"type": "ExternalName", "externalName": "x.org"}}
    )
    assert "clusterIP" not in made["spec"]


async def test_node_ports_come_and_go_with_the_type(api: Any, path: str) -> None:
    made = await api.create(path, service("a", type="NodePort"))
    port = made["spec"]["ports"][0]["nodePort"]
    assert 30000 <= port <= 32767
    _, changed = await api.ask("PUT", f"{path}/a", service("a", type="LoadBalancer"))
    assert changed["spec"]["ports"][0]["nodePort"] == port
    taken = service("b", type="NodePort", ports=[{"port": 1, "nodePort": port}])
    code, status = await api.ask("POST", path, taken)
    assert (code, "already allocated" in status["message"]) == (422, True)
    _, changed = await api.ask("PUT", f"{path}/a", service("a"))
    assert "nodePort" not in changed["spec"]["ports"][0]
    assert (await api.create(path, taken))["spec"]["ports"][0]["nodePort"] == port


async def test_the_apis_own_service(api: Any) -> None:
    config = api.running.config
    found = await api.get("/api/v1/namespaces/default/services/kubernetes")
    assert found["spec"]["clusterIP"] == config.kubernetes_service_address
    endpoints = await api.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
    assert endpoints["endpoints"][0]["addresses"] == [config.bridge_address]
    assert endpoints["ports"][0]["port"] == config.api_port
