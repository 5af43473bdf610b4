from __future__ import annotations

from typing import Any

import pytest

from binderops.node.dns.zone import Zone


def _service(name: str, namespace: str = "prod", **spec: Any) -> dict[str, Any]:
    labels = spec.pop("labels", {})
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec}


def _slice(service: str, endpoints: list[dict[str, Any]], ports: list[dict[str, Any]]) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    return {
        "metadata": {"name": f"{service}-1", "namespace": "prod", "labels": labels},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }


@pytest.fixture
def zone() -> Zone:
    services = [
        _service("kubernetes", "default", clusterIP="10.77.16.2", ports=[{"name": "https", "port": 443}]),
        _service(
            "hub",
            clusterIP="10.77.16.9",
            ports=[{"name": "http", "port": 8081}, {"name": "dns", "port": 53, "protocol": "UDP"}],
        ),
        _service("db", clusterIP="None", ports=[{"name": "sql", "port": 5432}]),
        _service("lonely", clusterIP="None", ports=[{"port": 80}]),
        _service("docs", type="ExternalName", externalName="docs.example.org."),
        _service("alias", type="ExternalName", externalName="hub.prod.svc.cluster.local"),
        _service("loop", type="ExternalName", externalName="loop.prod.svc.cluster.local"),
        _service(
            "mybinder-nginx-ingress-controller",
            type="LoadBalancer",
            clusterIP="10.77.16.50",
            labels={"app": "nginx-ingress", "component": "controller"},
            ports=[{"name": "http", "port": 8080}],
        ),
    ]
    endpoints = [
        {"addresses": ["10.77.0.5"], "hostname": "db-0", "conditions": {"ready": True}},
        {"addresses": ["10.77.0.6"], "conditions": {}},
        {"addresses": ["10.77.0.7"], "conditions": {"ready": False}},
    ]
    rules = [{"host": "binder.localhost"}, {"host": "*.Apps.example.org"}, {"http": {}}]
    return Zone(
        domain="cluster.local",
        own_ranges=("10.77.0.0/20", "10.77.16.0/20"),
        namespaces=[{"metadata": {"name": name}} for name in ("default", "prod", "other")],
        services=services,
        slices=[_slice("db", endpoints, [{"name": "sql", "port": 5432, "protocol": "TCP"}])],
        ingresses=[
            {"metadata": {"name": "a", "namespace": "prod"}, "spec": {"rules": rules}},
            {"metadata": {"name": "b", "namespace": "other"}, "spec": {"rules": [{"host": "no.example.org"}]}},
        ],
    )


HUB = "hub.prod.svc.cluster.local"
DB = "db.prod.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "kind", "data"),
    [
        ("kubernetes.default.svc.cluster.local", "A", ["10.77.16.2"]),
        ("Kubernetes.Default.SVC.cluster.local.", "A", ["10.77.16.2"]),
        (HUB, "A", ["10.77.16.9"]),
        (HUB, "AAAA", []),
        (f"_http._tcp.{HUB}", "SRV", [(0, 100, 8081, HUB)]),
        (f"_dns._udp.{HUB}", "SRV", [(0, 100, 53, HUB)]),
        (f"_http._tcp.{HUB}", "A", []),
        (DB, "A", ["10.77.0.5", "10.77.0.6"]),
        (f"db-0.{DB}", "A", ["10.77.0.5"]),
        (f"10-77-0-6.{DB}", "A", ["10.77.0.6"]),
        (f"_sql._tcp.{DB}", "SRV", [(0, 50, 5432, f"db-0.{DB}"), (0, 50, 5432, f"10-77-0-6.{DB}")]),
        ("docs.prod.svc.cluster.local", "CNAME", ["docs.example.org"]),
        ("docs.prod.svc.cluster.local", "A", ["docs.example.org"]),
        ("alias.prod.svc.cluster.local", "A", [HUB, "10.77.16.9"]),
        ("10-77-0-5.prod.pod.cluster.local", "A", ["10.77.0.5"]),
        ("9.16.77.10.in-addr.arpa", "PTR", [HUB]),
        ("5.0.77.10.in-addr.arpa", "PTR", [f"db-0.{DB}"]),
        ("prod.svc.cluster.local", "A", []),
        ("svc.cluster.local", "A", []),
        ("dns-version.cluster.local", "TXT", ["1.1.0"]),
        ("binder.localhost", "A", ["10.77.16.50"]),
        ("binder.localhost", "AAAA", []),
        ("BINDER.localhost", "A", ["10.77.16.50"]),
        ("one.apps.example.org", "A", ["10.77.16.50"]),
        ("localhost", "A", ["127.0.0.1"]),
        ("localhost", "AAAA", ["::1"]),
    ],
)
def test_names_that_exist(zone: Zone, name: str, kind: str, data: list[Any]) -> None:
    answer = zone.lookup(name, kind)
    assert answer is not None and answer.exists
    assert [record.data for record in answer.records] == data


@pytest.mark.parametrize(
    "name",
    [
        "hub.none.svc.cluster.local",
        "none.prod.svc.cluster.local",
        f"x.{HUB}",
        f"db-1.{DB}",
        f"10-77-0-7.{DB}",
        f"_nothing._tcp.{HUB}",
        f"_http._udp.{HUB}",
        "lonely.prod.svc.cluster.local",
        "none.svc.cluster.local",
        "8-8-8-8.prod.pod.cluster.local",
        "10-77-0-5.none.pod.cluster.local",
        "pypi.org.prod.svc.cluster.local",
        "pypi.org.cluster.local",
        "99.15.77.10.in-addr.arpa",
        "other.localhost",
        "hub",
        "hub.prod.svc",
        "",
        # The names that a network inside gives to its own addresses (RFC 6303), and names that are nobody's.
        "5.1.168.192.in-addr.arpa",
        "1.0.0.127.in-addr.arpa",
        "254.169.254.169.in-addr.arpa",
        "64.100.in-addr.arpa",
        "10.in-addr.arpa",
        "168.192.in-addr.arpa",
        "d.f.ip6.arpa",
        f"1.{'0.' * 28}8.e.f.ip6.arpa",
        "somewhere.onion",
        "typing-error.invalid",
    ],
)
def test_names_that_do_not_exist_are_never_forwarded(zone: Zone, name: str) -> None:
    answer = zone.lookup(name, "A")
    assert answer is not None and not answer.exists and not answer.records


@pytest.mark.parametrize(
    "name",
    [
        "pypi.org",
        "apps.example.org",
        "a.b.apps.example.org",
        "no.example.org",
        "8.8.8.8.in-addr.arpa",
        "8.8.in-addr.arpa",
        "in-addr.arpa",
        "8.8.8.8.6.8.4.0.6.8.4.1.0.0.2.ip6.arpa",
        "words.in-addr.arpa",
        "words.ip6.arpa",
        "cluster.local.org",
    ],
)
def test_other_names_are_not_the_zones(zone: Zone, name: str) -> None:
    assert zone.lookup(name, "A") is None


def test_an_external_name_outside_is_to_be_followed_and_a_circle_ends(zone: Zone) -> None:
    outside = zone.lookup("docs.prod.svc.cluster.local", "A")
    assert outside is not None and outside.follow == "docs.example.org"
    circle = zone.lookup("loop.prod.svc.cluster.local", "A")
    assert circle is not None and circle.follow is None


def test_srv_of_a_headless_service_brings_the_addresses(zone: Zone) -> None:
    answer = zone.lookup(f"_sql._tcp.{DB}", "SRV")
    assert answer is not None
    assert {(record.name, record.data) for record in answer.extra} == {
        (f"db-0.{DB}", "10.77.0.5"),
        (f"10-77-0-6.{DB}", "10.77.0.6"),
    }
