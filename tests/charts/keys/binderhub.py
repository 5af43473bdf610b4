"""Rows of the binderhub chart, without `config` (traits.py) and without its jupyterhub."""

from __future__ import annotations

import base64

from tests.charts.keys.rows import ABSENT, AMONG, Has, Row, Text, below
from tests.charts.keys.shared import (
    POD,
    budget,
    extra_env,
    extra_files,
    image,
    ingress,
    labels,
    more_of_a_pod,
    pod,
    probes,
    resources,
    service,
    toleration,
)

BINDER, REGISTRY = "Deployment binder", "Deployment registry"
CLEANING = f"{POD}.containers.cleaner.args"
DOCKER = "Secret binder-build-docker-config"
CODE = "c.BinderHub.default_opengraph_title = 'at ' + get_value('config.BinderHub.base_url')"

_OWN = [
    Row("replicas", 3, BINDER, "spec.replicas"),
    Row("rbac.enabled", False, "RoleBinding binderhub", "", ABSENT, apart="off"),
    *budget("pdb", "PodDisruptionBudget binderhub", on=True),
    *pod("", BINDER, "binder"),
    *more_of_a_pod("", BINDER, "binder"),
    *extra_files("extraFiles", "Secret binder-secret", BINDER, "binder"),
    Row("podAnnotations", labels("binder-podannotations"), BINDER, "spec.template.metadata.annotations"),
    Row("deployment.labels", labels("binder-deployment-labels"), BINDER, "spec.template.metadata.labels"),
    *probes("deployment.", BINDER, "binder"),
    *service("service", "Service binder"),
    Row("service.labels", labels("binder-service-labels"), "Service binder", "metadata.labels"),
    Row("service.nodePort", 30123, "Service binder", "spec.ports.0.nodePort"),
    *ingress("ingress", "Ingress binderhub"),
    Row("ingress.https.enabled", True, "Ingress binderhub", "spec.tls.kubelego-tls-binder-binder.hosts",
        ["binder.localhost"], apart="https"),
    Row("ingress.https.type", "other", "Ingress binderhub", "metadata.annotations.kubernetes.io/tls-acme", ABSENT,
        base="https"),
    Row("extraConfig", {"50-own": CODE}, "Binder", "binder.default_opengraph_title", "at /", apart="code"),
    Row("registry.url", "https://two.example", "Binder", "image_registry", "two.example", base="own registry"),
    Row("registry", {"username": "me", "password": "secret"}, DOCKER, "data.config.json",
        Has(base64.b64encode(b"me:secret").decode()), base="own registry"),
    Row("registryServer.enabled", False, REGISTRY, "", ABSENT, apart="off"),
    *image("registryServer.", REGISTRY, "registry"),
    Row("registryServer.resources", resources("registry"), REGISTRY, f"{POD}.containers.registry.resources"),
    Row("registryServer.storage", "7Gi", "PersistentVolumeClaim registry", "spec.resources.requests.storage"),
    Row("registryServer.storageClassName", "fast", "PersistentVolumeClaim registry", "spec.storageClassName"),
    Row("registryServer.nodeSelector", labels("registry"), REGISTRY, f"{POD}.nodeSelector"),
    Row("registryServer.tolerations", [toleration("registry")], REGISTRY, f"{POD}.tolerations", AMONG),
    Row("registryServer.pullPassword", "secret", "Secret registry-pull", "data..dockerconfigjson",
        Has(base64.b64encode(b"pull:secret").decode())),
    Row("registryServer.tokenSigning", {"certificate": "C", "key": "K"}, "Secret registry-token", "data",
        {"tls.crt": "C", "tls.key": "K"}),
    Row("imageCleaner.enabled", False, REGISTRY, f"{POD}.containers.cleaner", ABSENT, apart="no cleaner"),
    *image("imageCleaner.", REGISTRY, "cleaner"),
    *extra_env("imageCleaner.extraEnv", REGISTRY, "cleaner"),
    Row("imageCleaner.delay", 7, REGISTRY, CLEANING, Has("--delay=7")),
    Row("imageCleaner.imageGCThresholdHigh", 75.5, REGISTRY, CLEANING, Has("--high=75.5")),
    Row("imageCleaner.imageGCThresholdLow", 5, REGISTRY, CLEANING, Has("--low=5")),
    Row("imageCleaner.imageGCThresholdType", "absolute", REGISTRY, CLEANING, Has("--threshold-type=absolute")),
    Row("localToken", "secret", "Secret binder-local", "data.token"),
    Row("trustedProxies.podLabels", {"app": "other"}, "Binder", "trusted_proxies.pod_labels.app", "other"),
    Row("trustedProxies.cidrs", ["198.51.100.0/24"], "Binder", "trusted_proxies.cidrs.0", Text("198.51.100.0/24")),
]  # fmt: skip

_POLICY, _BINDERS_POLICY, _BUILDS_POLICY = (f"NetworkPolicy binder-{name}" for name in ("users", "", "builds"))
_BINDERS_POLICY = "NetworkPolicy binder"
_OUTSIDE = "spec.egress.1"

# What the meta chart makes of this chart's values.
_POLICIES = [
    Row("enabled", False, _POLICY, "", ABSENT, apart="off"),
    Row("egress.tcpPorts", [4433], _POLICY, f"{_OUTSIDE}.ports", [{"port": 4433, "protocol": "TCP"}]),
    Row("egress.cidr", "198.51.100.0/24", _POLICY, f"{_OUTSIDE}.to.0.ipBlock.cidr"),
    Row("egress.bannedIps", {"own": ["198.51.100.7"]}, _POLICY, f"{_OUTSIDE}.to.0.ipBlock.except",
        Has("198.51.100.7/32")),
    Row("egress.kubernetesApi", [{"cidr": "192.0.2.9/32", "port": 7443}], _BINDERS_POLICY, "spec.egress.1",
        {"to": [{"ipBlock": {"cidr": "192.0.2.9/32"}}], "ports": [{"port": 7443, "protocol": "TCP"}]}),
    Row("egress.internalHosts", [{"host": "git.example.org", "cidr": "10.1.2.3/32", "ports": [444]}], _BUILDS_POLICY,
        "spec.egress",
        Has({"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 444, "protocol": "TCP"}]})),
    Row("egress.internalHosts", [{"host": "git.example.org", "cidr": "10.1.2.3/32", "ports": [444]}], "Binder",
        "internal_hosts.0.network", Text("10.1.2.3/32")),
]  # fmt: skip

_SCALER = "HorizontalPodAutoscaler binder"
_SCALING = [
    Row("enabled", True, _SCALER, "kind", "HorizontalPodAutoscaler", apart="hpa"),
    Row("minReplicas", 2, _SCALER, "spec.minReplicas", base="hpa"),
    Row("maxReplicas", 9, _SCALER, "spec.maxReplicas", base="hpa"),
    Row("targetCPU", 71, _SCALER, "spec.metrics.0.resource.target.averageUtilization", base="hpa"),
]

ROWS = [
    *below("binderhub.", _OWN),
    *below("binderhub.networkPolicy.", _POLICIES),
    *below("binderhub.hpa.", _SCALING),
]
