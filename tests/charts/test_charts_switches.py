"""Every optional component, switched on and off, renders, and each object fits its kind's own schema."""

from __future__ import annotations

from typing import Any

import pytest
from tests.charts.conftest import Rendered, at, merge

from binderops.kube.schemas import validate

REDIRECTS = [
    {"type": "host", "host": {"from": "old.example.org", "to": "new.example.org"}},
    {"type": "url", "host": {"from": "docs", "to": "docs.example.org/start?x=1"}, "permanent": True, "scheme": "http"},
]
PDB = {"enabled": True, "maxUnavailable": 1}

# name → values, and an object that is there exactly then (None: only that it renders).
SWITCHES: dict[str, tuple[dict[str, Any], tuple[str, str] | None]] = {
    "as it is": ({}, ("Deployment", "binder")),
    "binderhub off": ({"binderhubEnabled": False}, None),
    "ingress controller off": (at("nginx-ingress.enabled", False), None),
    "default backend off": (at("nginx-ingress.defaultBackend.enabled", False), None),
    "redirector": (
        merge(at("redirector.enabled", True), at("redirector.redirects", REDIRECTS)),
        ("Deployment", "redirector"),
    ),
    "redirector without rules": (at("redirector.enabled", True), ("Service", "redirector")),
    "static off": (at("static.enabled", False), None),
    "static with tls": (at("static.ingress.tls.enabled", True), ("Ingress", "static")),
    "registry off": (at("binderhub.registryServer.enabled", False), None),
    "own registry": (at("binderhub.registry.url", "https://quay.io"), ("Secret", "binder-build-docker-config")),
    "binder's ingress off": (at("binderhub.ingress.enabled", False), None),
    "binder's certificates": (at("binderhub.ingress.https.enabled", True), ("Ingress", "binderhub")),
    "binder without rbac": (at("binderhub.rbac.enabled", False), None),
    "binder without pdb": (at("binderhub.pdb.enabled", False), None),
    "two binders": (at("binderhub.replicas", 2), None),
    "hpa": (at("binderhub.hpa.enabled", True), ("HorizontalPodAutoscaler", "binder")),
    "policies off": (at("binderhub.networkPolicy.enabled", False), None),
    "no open ports": (at("binderhub.networkPolicy.egress.tcpPorts", []), None),
    "hub's pdb": (at("binderhub.jupyterhub.hub.pdb", PDB), ("PodDisruptionBudget", "hub")),
    "proxy's pdb": (at("binderhub.jupyterhub.proxy.chp.pdb", PDB), ("PodDisruptionBudget", "proxy")),
    "hub's policy off": (at("binderhub.jupyterhub.hub.networkPolicy.enabled", False), None),
    "proxy's policy off": (at("binderhub.jupyterhub.proxy.chp.networkPolicy.enabled", False), None),
    "hub without account": (at("binderhub.jupyterhub.hub.serviceAccount.create", False), None),
    "hub without rbac": (at("binderhub.jupyterhub.rbac.create", False), None),
    "hub's ingress off": (at("binderhub.jupyterhub.ingress.enabled", False), None),
    "priorities": (
        at("binderhub.jupyterhub.scheduling.podPriority.enabled", True),
        ("PriorityClass", "binder-default-priority"),
    ),
    "core nodes required": (
        at("binderhub.jupyterhub.scheduling.corePods.nodeAffinity.matchNodePurpose", "require"),
        None,
    ),
    "users' files": (
        at("binderhub.jupyterhub.singleuser.extraFiles.a", {"mountPath": "/a", "stringData": "x"}),
        ("Secret", "singleuser"),
    ),
    "existing secret": (at("binderhub.jupyterhub.hub.existingSecret", "mine"), None),
    "controller unscoped": (at("nginx-ingress.controller.scope.enabled", False), None),
    "two controllers": (
        at("nginx-ingress.controller.replicaCount", 2),
        ("PodDisruptionBudget", "binder-nginx-ingress-controller"),
    ),
    "controller's metrics": (
        at("nginx-ingress.controller.metrics.enabled", True),
        ("Service", "binder-nginx-ingress-controller-metrics"),
    ),
    "controller without rbac": (at("nginx-ingress.rbac.create", False), None),
    "tls": (at("global.publicTlsPort", 443), None),
}


def wrong(objects: Rendered) -> list[str]:
    return [f"{'/'.join(key)}: {finding}" for key, obj in objects.items() for finding in validate(obj)]


@pytest.mark.parametrize("name", SWITCHES)
def test_renders_and_fits(render: Any, local: Rendered, name: str) -> None:
    values, expected = SWITCHES[name]
    objects = render(values)
    assert wrong(objects) == []
    if expected:
        assert expected in objects
    if name.endswith(" off"):
        assert set(objects) < set(local)


def test_everything_at_once(render: Any) -> None:
    objects = render(*(values for name, (values, _) in SWITCHES.items() if "off" not in name and "without" not in name))
    assert wrong(objects) == []
    for _, expected in SWITCHES.values():
        assert expected is None or expected in objects


def test_the_validator_sees_a_wrong_field(local: Rendered) -> None:
    pod = {**local["Pod", "binder-test-health"], "sepc": {}}
    assert [finding.rule for finding in validate(pod)] == ["unknown-field"]


def test_binderhub_off_leaves_policies(render: Any) -> None:
    """charts.md 4: false still renders the meta chart's own policies."""
    objects = render({"binderhubEnabled": False})
    assert ("NetworkPolicy", "binder-users") in objects
    assert ("Deployment", "binder") not in objects
    assert ("Deployment", "hub") not in objects


def test_a_scoped_controller_reads_no_other_secrets(render: Any, local: Rendered) -> None:
    def reads_secrets(objects: Rendered) -> bool:
        rules = objects["ClusterRole", "binder-nginx-ingress"]["rules"]
        return any("secrets" in rule["resources"] for rule in rules)

    assert not reads_secrets(local)
    assert reads_secrets(render(at("nginx-ingress.controller.scope.enabled", False)))


def test_platform_pods_have_user_namespaces_of_their_own(render: Any) -> None:
    """Who breaks out of one is nobody on the machine, not its user 1000."""
    on = merge(
        at("redirector.enabled", True), at("kube-lego", {"enabled": True, "config": {"LEGO_EMAIL": "ops@example.org"}})
    )
    specs = {name: obj["spec"]["template"]["spec"] for name, obj in render(on).of_kind("Deployment").items()}
    assert {"hub", "proxy", "binder", "registry", "static", "redirector"} < set(specs)
    assert {name for name, spec in specs.items() if spec.get("hostUsers") is not False} == set()
    shared = render(on, at("global.hostUsers", True)).of_kind("Deployment").values()
    assert all(obj["spec"]["template"]["spec"]["hostUsers"] is True for obj in shared)


@pytest.mark.parametrize("key", ["binderhub", "binderhub.jupyterhub.hub", "binderhub.jupyterhub.proxy.chp"])
def test_an_operators_pod_spec_says_it_instead(render: Any, key: str) -> None:
    name = {"binderhub": "binder", "binderhub.jupyterhub.hub": "hub"}.get(key, "proxy")
    for spec in ({"hostUsers": True}, {"hostNetwork": True}):
        found = render(at(f"{key}.extraPodSpec", spec))["Deployment", name]["spec"]["template"]["spec"]
        assert {field: found.get(field) for field in ("hostUsers", "hostNetwork") if field in found} == spec
