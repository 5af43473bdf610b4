"""Expansion, environment, downward API: tables after the kubelet's own tests."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.errors import ContainerConfigError
from binderops.kube.kinds import Kind
from binderops.node.pods.downward import field_value, resource_value
from binderops.node.pods.environment import Facts, container_environment, service_variables
from binderops.node.pods.expansion import expand, references

POD: dict[str, Any] = {
    "metadata": {
        "name": "p",
        "namespace": "ns",
        "uid": "u",
        "labels": {"b": "2", "a": 'x"y'},
        "annotations": {"note": "n"},
    },
    "spec": {"nodeName": "n1", "serviceAccountName": "sa", "containers": [{"name": "c"}]},
}
FACTS = Facts("10.0.0.5", "10.0.0.1", {"cpu": "2", "memory": "1024Ki"}, {"KUBERNETES_SERVICE_HOST": "10.9.0.1"})


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$(NO)", "$(NO)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$", "$"),
        ("$()", "$()"),
        ("$($(A))", "$($(A))"),
        ("cost: 5$", "cost: 5$"),
    ],
)
def test_expansion(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


@given(st.text(alphabet="ab$(){} "))
def test_expansion_without_references_only_unescapes(text: str) -> None:
    result = expand(text, {})
    assert result.replace("$", "") == text.replace("$", "")
    assert len(references(text)) <= text.count("$(")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "u"),
        ("metadata.labels", 'a="x\\"y"\nb="2"'),
        ("metadata.labels['b']", "2"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['note']", "n"),
        ("spec.nodeName", "n1"),
        ("spec.serviceAccountName", "sa"),
        ("status.podIP", "10.0.0.5"),
        ("status.hostIP", "10.0.0.1"),
    ],
)
def test_fields(path: str, value: str) -> None:
    assert field_value(path, POD, pod_address="10.0.0.5", host_address="10.0.0.1") == value


def test_unknown_field() -> None:
    with pytest.raises(ContainerConfigError, match=r"spec\.secret"):
        field_value("spec.secret", POD, pod_address="", host_address="")


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ({"resource": "limits.cpu"}, "1"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "500"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "1"),
        ({"resource": "requests.memory"}, "64"),
        ({"resource": "requests.cpu"}, "0"),
    ],
)
def test_resources(reference: dict[str, str], value: str) -> None:
    container = {"resources": {"limits": {"cpu": "500m"}, "requests": {"memory": "64"}}}
    assert resource_value(reference, container, allocatable={"memory": "1024Ki", "cpu": "2"}) == value


async def fetch(kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
    objects = {
        ("ConfigMap", "config"): {"kind": "ConfigMap", "data": {"colour": "red", "bad key": "x"}},
        ("Secret", "hidden"): {"kind": "Secret", "data": {"key": base64.b64encode(b"s3cret").decode()}},
    }
    assert namespace == "ns"
    return objects.get((kind.kind, name))


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(C)"}]}, {"A": "1", "B": "1-$(C)"}),
        ({"env": [{"name": "H", "value": "$(KUBERNETES_SERVICE_HOST)"}]}, {"H": "10.9.0.1"}),
        ({"env": [{"name": "E"}]}, {"E": ""}),
        ({"envFrom": [{"configMapRef": {"name": "config"}, "prefix": "X_"}]}, {"X_colour": "red"}),
        ({"envFrom": [{"secretRef": {"name": "none", "optional": True}}]}, {}),
        (
            {
                "envFrom": [{"configMapRef": {"name": "config"}}],
                "env": [{"name": "colour", "value": "over $(colour)"}],
            },
            {"colour": "over red"},
        ),
        ({"env": [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "key"}}}]}, {"S": "s3cret"}),
        (
            {"env": [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "no", "optional": True}}}]},
            {},
        ),
        ({"env": [{"name": "P", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}, {"P": "p"}),
    ],
)
async def test_environment(container: dict[str, Any], expected: dict[str, str]) -> None:
    found = await container_environment(POD, {"name": "c", **container}, FACTS, fetch)
    assert found == {"KUBERNETES_SERVICE_HOST": "10.9.0.1", **expected}


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"envFrom": [{"configMapRef": {"name": "none"}}]}, 'configmap "none" not found'),
        ({"env": [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]}, "not found"),
        (
            {"env": [{"name": "S", "valueFrom": {"configMapKeyRef": {"name": "config", "key": "no"}}}]},
            "couldn't find key no in ConfigMap ns/config",
        ),
    ],
)
async def test_what_is_missing_is_named(container: dict[str, Any], message: str) -> None:
    with pytest.raises(ContainerConfigError, match=message):
        await container_environment(POD, {"name": "c", **container}, FACTS, fetch)


def service(name: str, namespace: str, address: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": address, "ports": list(ports)}}


def test_service_variables() -> None:
    services = [
        service("proxy-api", "ns", "10.9.0.7", {"name": "http", "port": 8001}, {"port": 53, "protocol": "UDP"}),
        service("other", "elsewhere", "10.9.0.8", {"port": 80}),
        service("headless", "ns", "None", {"port": 80}),
        service("kubernetes", "default", "10.9.0.1", {"name": "https", "port": 443}),
    ]
    found = service_variables(services, namespace="ns", links=True, kubernetes_address="10.9.0.1")
    assert found["PROXY_API_SERVICE_HOST"] == "10.9.0.7"
    assert found["PROXY_API_SERVICE_PORT_HTTP"] == found["PROXY_API_SERVICE_PORT"] == "8001"
    assert found["PROXY_API_PORT"] == "tcp://10.9.0.7:8001"
    assert found["PROXY_API_PORT_53_UDP_PROTO"] == "udp"
    assert found["KUBERNETES_PORT_443_TCP_ADDR"] == "10.9.0.1"
    assert not [name for name in found if name.startswith(("OTHER", "HEADLESS"))]
    without = service_variables(services, namespace="ns", links=False, kubernetes_address="10.9.0.1")
    assert without["KUBERNETES_SERVICE_HOST"] == "10.9.0.1"
    assert not [name for name in without if name.startswith("PROXY")]
