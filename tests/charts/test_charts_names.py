"""Names, kinds, selectors, ports, Secret keys and claims: upstream's, for good.

A release that was made with the upstream charts upgrades into ours in place only while this table holds: selectors are
immutable, a claim under another name is another disk, and running servers know the hub by its Service's name and port.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.charts.conftest import RELEASE, Rendered
from tests.charts.keys.rows import Row
from tests.charts.keys.world import World

from binderops.binder.builds.pods import user_selector
from binderops.kube.selectors import parse_labels

R = RELEASE


def jh(component: str) -> dict[str, str]:
    return {"component": component, "app": "jupyterhub", "release": R}


def nginx(component: str) -> dict[str, str]:
    return {"app": "nginx-ingress", "component": component, "release": R}


BINDER = {"app": "binder", "component": "binder", "release": R}

# kind, name → selector (of a workload, Service or policy), Service ports as {name or "": (port, targetPort)}, keys of a
# Secret or ConfigMap (all of them must be there), type of a Secret.
TABLE: dict[tuple[str, str], dict[str, Any]] = {
    # charts.md 1.1: the jupyterhub chart
    ("Deployment", "hub"): {"selector": jh("hub")},
    ("Deployment", "proxy"): {"selector": jh("proxy")},
    ("Service", "hub"): {"selector": jh("hub"), "ports": {"hub": (8081, "http")}},
    ("Service", "proxy-api"): {"selector": jh("proxy"), "ports": {"": (8001, "api")}},
    ("Service", "proxy-public"): {"selector": jh("proxy"), "ports": {"http": (80, "http")}},
    ("ConfigMap", "hub"): {"keys": {"jupyterhub_config.py", "z2jh.py", "checksum_hook-image-puller"}},
    ("Secret", "hub"): {
        "type": "Opaque",
        "keys": {
            "values.yaml",
            "hub.services.binder.apiToken",
            "hub.config.ConfigurableHTTPProxy.auth_token",
            "hub.config.JupyterHub.cookie_secret",
            "hub.config.CryptKeeper.keys",
        },
    },
    ("PersistentVolumeClaim", "hub-db-dir"): {},
    ("ServiceAccount", "hub"): {},
    ("Role", "hub"): {},
    ("RoleBinding", "hub"): {},
    ("NetworkPolicy", "hub"): {"selector": jh("hub")},
    ("NetworkPolicy", "proxy"): {"selector": jh("proxy")},
    ("NetworkPolicy", "singleuser"): {"selector": jh("singleuser-server")},
    ("Ingress", "jupyterhub"): {},
    # 1.2: the binderhub chart
    ("Deployment", "binder"): {"selector": BINDER},
    ("Service", "binder"): {
        "selector": {**BINDER, "name": "binder", "heritage": "Helm"},
        "ports": {"": (80, 8585)},
    },
    ("Secret", "binder-secret"): {"type": "Opaque", "keys": {"values.yaml", "binderhub_config.py"}},
    ("ServiceAccount", "binderhub"): {},
    ("Role", "binderhub"): {},
    ("RoleBinding", "binderhub"): {},
    ("PodDisruptionBudget", "binderhub"): {"selector": BINDER},
    ("Ingress", "binderhub"): {},
    # new in ours
    ("Deployment", "registry"): {"selector": {"app": "binder", "component": "registry", "release": R}},
    ("Service", "registry"): {
        "selector": {"app": "binder", "component": "registry", "release": R},
        "ports": {"registry": (5000, "registry"), "metrics": (5001, "metrics")},
    },
    ("Service", "registry-token"): {
        "selector": {**BINDER, "name": "binder"},
        "ports": {"http": (80, "registry-token")},
    },
    ("PersistentVolumeClaim", "registry"): {},
    ("ConfigMap", "registry"): {"keys": {"config.yml"}},
    ("Secret", "registry-token"): {"type": "kubernetes.io/tls", "keys": {"tls.crt", "tls.key"}},
    ("Secret", "registry-pull"): {"type": "kubernetes.io/dockerconfigjson", "keys": {".dockerconfigjson"}},
    ("Secret", "binder-local"): {"type": "Opaque", "keys": {"token"}},
    ("ConfigMap", "machine"): {
        "keys": {
            "ca.crt",
            "pip-index-url",
            "npm-registry",
            "debian-mirror",
            "http-proxy",
            "https-proxy",
            "no-proxy",
        }
    },
    # 4: nginx-ingress
    ("Deployment", f"{R}-nginx-ingress-controller"): {"selector": nginx("controller")},
    ("Service", f"{R}-nginx-ingress-controller"): {
        "selector": nginx("controller"),
        "ports": {"http": (8080, "http")},
    },
    ("ConfigMap", f"{R}-nginx-ingress-controller"): {},
    ("Deployment", f"{R}-nginx-ingress-default-backend"): {"selector": nginx("default-backend")},
    ("Service", f"{R}-nginx-ingress-default-backend"): {
        "selector": nginx("default-backend"),
        "ports": {"http": (80, "http")},
    },
    ("ConfigMap", f"{R}-nginx-ingress-default-backend"): {"keys": {"nginx.conf"}},
    ("ServiceAccount", f"{R}-nginx-ingress"): {},
    ("Role", f"{R}-nginx-ingress"): {},
    ("RoleBinding", f"{R}-nginx-ingress"): {},
    ("ClusterRole", f"{R}-nginx-ingress"): {},
    ("ClusterRoleBinding", f"{R}-nginx-ingress"): {},
    ("IngressClass", "nginx"): {},
    # 1.5, 4: the meta chart's own
    ("NetworkPolicy", "binder"): {},
    ("NetworkPolicy", "binder-users"): {},
    ("NetworkPolicy", "binder-builds"): {},
    ("Deployment", "static"): {"selector": {"app": "static", "component": "nginx", "release": R}},
    ("Service", "static"): {
        "selector": {"app": "static", "component": "nginx", "release": R},
        "ports": {"": (80, "http")},
    },
    ("ConfigMap", "static-config"): {"keys": {"nginx.conf"}},
    ("ConfigMap", "binder-badges"): {"keys": {"url"}},
    ("ConfigMap", "static-files"): {"keys": {"badge.svg", "badge_logo.svg"}},
    ("Ingress", "static"): {},
    ("Pod", f"{R}-test-health"): {},
}

# charts.md 1.1: what z2jh.get_name knows.
SHORT_NAMES = {
    "fullname": "",
    "fullname-dash": "",
    "hub": "hub",
    "hub-serviceaccount": "hub",
    "hub-existing-secret": "",
    "hub-existing-secret-or-default": "hub",
    "hub-pvc": "hub-db-dir",
    "proxy": "proxy",
    "proxy-api": "proxy-api",
    "proxy-http": "proxy-http",
    "proxy-public": "proxy-public",
    "proxy-public-tls": "proxy-public-tls-acme",
    "proxy-public-manual-tls": "proxy-public-manual-tls",
    "autohttps": "autohttps",
    "singleuser": "singleuser",
    "image-pull-secret": "image-pull-secret",
    "ingress": "jupyterhub",
    "priority": f"{R}-default-priority",
    "user-placeholder-priority": f"{R}-user-placeholder-priority",
    "image-puller-priority": f"{R}-image-puller-priority",
    "user-scheduler": f"{R}-user-scheduler",
}


def selector_of(obj: dict[str, Any]) -> dict[str, str]:
    spec = obj["spec"]
    found = spec["podSelector"] if "podSelector" in spec else spec["selector"]
    labels: dict[str, str] = found.get("matchLabels", found)
    return labels


def test_exactly_these_objects(local: Rendered) -> None:
    assert set(local) == set(TABLE)


@pytest.mark.parametrize("key", TABLE, ids="/".join)
def test_what_cannot_change(local: Rendered, key: tuple[str, str]) -> None:
    obj, expected = local[key], TABLE[key]
    if "selector" in expected:
        assert selector_of(obj) == expected["selector"]
    if "ports" in expected:
        ports = {port.get("name", ""): (port["port"], port["targetPort"]) for port in obj["spec"]["ports"]}
        assert ports == expected["ports"]
    if "type" in expected:
        assert obj["type"] == expected["type"]
    assert expected.get("keys", set()) <= set(obj.get("data", {}))


def test_pods_match_their_workloads_and_services(local: Rendered) -> None:
    pods = [obj["spec"]["template"]["metadata"]["labels"] for obj in local.of_kind("Deployment").values()]
    for name, obj in {**local.of_kind("Deployment"), **local.of_kind("Service")}.items():
        wanted = selector_of(obj).items()
        assert len([labels for labels in pods if wanted <= labels.items()]) == 1, name


def test_hub_pod_opens_the_policies_it_needs(local: Rendered) -> None:
    hub = local["Deployment", "hub"]["spec"]["template"]["metadata"]
    for access in ("proxy-api", "proxy-http", "singleuser"):
        assert hub["labels"][f"hub.jupyter.org/network-access-{access}"] == "true"
    assert set(hub["annotations"]) == {"checksum/config-map", "checksum/secret"}
    proxy = local["Deployment", "proxy"]["spec"]["template"]["metadata"]
    assert {"checksum/auth-token", "checksum/proxy-secret"} == set(proxy["annotations"])


def test_short_names(local: Rendered) -> None:
    data = local["ConfigMap", "hub"]["data"]
    assert SHORT_NAMES.items() <= data.items()
    # 32 names in upstream's, and three files.
    assert len(data) == 32 + 3


@pytest.mark.parametrize(
    ("override", "hub", "claim"),
    [
        ("", "hub", "hub-db-dir"),
        ("x", "x-hub", "x-hub-db-dir"),
        (None, f"{R}-jupyterhub-hub", f"{R}-jupyterhub-hub-db-dir"),
    ],
)
def test_fullname_override(render: Any, override: str | None, hub: str, claim: str) -> None:
    objects = render({"binderhub": {"jupyterhub": {"fullnameOverride": override}}})
    assert ("Deployment", hub) in objects
    assert ("PersistentVolumeClaim", claim) in objects
    env = objects["Deployment", "binder"]["spec"]["template"]["spec"]["containers"][0]["env"]
    token = next(entry for entry in env if entry["name"] == "JUPYTERHUB_API_TOKEN")
    assert token["valueFrom"]["secretKeyRef"]["name"] == hub


@pytest.mark.parametrize("override", [None, "own"])
def test_the_binder_finds_users_pods_whatever_the_hubs_chart_is_called(
    render: Any, tmp_path: Path, override: str | None
) -> None:
    objects = render({"binderhub": {"jupyterhub": {"nameOverride": override}}})
    pod = World(objects, tmp_path / "hub").find(Row("", None, "Pod of a user"))
    assert pod["metadata"]["labels"]["app"] == (override or "jupyterhub")
    assert parse_labels(user_selector(R)).matches(pod["metadata"]["labels"])
    assert not parse_labels(user_selector("another")).matches(pod["metadata"]["labels"])
