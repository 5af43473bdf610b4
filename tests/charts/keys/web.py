"""Rows of the ingress controller, of kube-lego, and of the meta chart's own keys."""

from __future__ import annotations

from typing import Any

from tests.charts.keys.rows import ABSENT, AMONG, Has, Lacks, Row, below
from tests.charts.keys.shared import POD, image, labels, resources, service, toleration

NAME = "binder-nginx-ingress"
CONTROLLER, BACKEND = f"Deployment {NAME}-controller", f"Deployment {NAME}-default-backend"
BOX = f"{POD}.containers.nginx-ingress-controller"
ARGS = f"{BOX}.args"
AFFINITY: dict[str, Any] = {"nodeAffinity": {}}
WATCHER = {"name": "OWN", "value": "1"}


def _placed(prefix: str, target: str, container: str) -> list[Row]:
    return [
        *image(prefix, target, container),
        Row(f"{prefix}replicaCount", 3, target, "spec.replicas"),
        Row(
            f"{prefix}resources", resources(f"{container}-resources"), target, f"{POD}.containers.{container}.resources"
        ),
        Row(f"{prefix}podLabels", labels(f"{container}-podlabels"), target, "spec.template.metadata.labels"),
        Row(
            f"{prefix}podAnnotations",
            labels(f"{container}-podannotations"),
            target,
            "spec.template.metadata.annotations",
        ),
        Row(f"{prefix}nodeSelector", labels(f"{container}-nodeselector"), target, f"{POD}.nodeSelector"),
        Row(
            f"{prefix}tolerations",
            [toleration(f"{container}-tolerations")],
            target,
            f"{POD}.tolerations",
            Has(toleration(f"{container}-tolerations")),
        ),
        Row(f"{prefix}affinity", AFFINITY, target, f"{POD}.affinity"),
    ]


def _service(key: str, target: str) -> list[Row]:
    return [
        *service(key, target),
        Row(f"{key}.labels", labels(f"{target.split()[1]}-labels"), target, "metadata.labels"),
        Row(f"{key}.clusterIP", "10.77.16.77", target, "spec.clusterIP"),
        Row(f"{key}.loadBalancerSourceRanges", ["192.0.2.0/24"], target, "spec.loadBalancerSourceRanges"),
        Row(f"{key}.externalIPs", ["192.0.2.5"], target, "spec.externalIPs"),
    ]


# Setting → its value, and what the controller reads (on `options` where an annotation may set it again).
_SETTINGS = {
    "force-ssl-redirect": ("true", "options.force_ssl_redirect", True),
    "hsts": ("true", "options.hsts", True),
    "hsts-include-subdomains": (True, "hsts_include_subdomains", True),
    "hsts-max-age": (31536001, "hsts_max_age", 31536001),
    "proxy-body-size": ("9m", "options.proxy_body_size", 9),
    "proxy-buffering": ("on", "options.proxy_buffering", True),
    "proxy-connect-timeout": (7, "options.proxy_connect_timeout", 7),
    "proxy-read-timeout": ("91", "options.proxy_read_timeout", 91),
    "proxy-request-buffering": ("on", "options.proxy_request_buffering", True),
    "proxy-send-timeout": ("92s", "options.proxy_send_timeout", 92),
    "ssl-protocols": ("TLSv1.3", "ssl_protocols", "TLSv1.3"),
    "ssl-redirect": ("false", "options.ssl_redirect", False),
    "worker-shutdown-timeout": ("93s", "worker_shutdown_timeout", 93),
}

_TIMES = {
    "initialDelaySeconds": 31, "periodSeconds": 32, "failureThreshold": 33, "successThreshold": 1, "timeoutSeconds": 35,
}  # fmt: skip
_METRICS, _DEFAULT = f"Service {NAME}-controller-metrics", f"Service {NAME}-default-backend"
_SERVICE = f"Service {NAME}-controller"

_INGRESS = [
    Row("enabled", False, CONTROLLER, "", ABSENT, apart="off"),
    Row("nameOverride", "own", "Deployment binder-own-controller", "spec.selector.matchLabels.app", apart="name"),
    Row("fullnameOverride", "own", "Deployment own-controller", "kind", "Deployment", apart="fullname"),
    Row("rbac.create", False, f"ClusterRole {NAME}", "", ABSENT, apart="no roles"),
    Row("revisionHistoryLimit", 0, CONTROLLER, "spec.revisionHistoryLimit"),
    Row("revisionHistoryLimit", 0, BACKEND, "spec.revisionHistoryLimit"),
    Row("controller.name", "front", f"Deployment {NAME}-front", "spec.selector.matchLabels.component", apart="front"),
    Row("controller.ingressClass", "own", CONTROLLER, ARGS, Has("own")),
    Row("controller.ingressClass", "own", "IngressClass own", "kind", "IngressClass"),
    *(Row(f"controller.config.{key}", value, "Controller", place, seen)
      for key, (value, place, seen) in _SETTINGS.items()),
    Row("controller.extraArgs.default-ssl-certificate", "ns/own", CONTROLLER, ARGS, Has("ns/own")),
    Row("controller.scope.enabled", False, CONTROLLER, ARGS, Lacks("--watch-namespace"), apart="scope"),
    Row("controller.scope.enabled", False, f"ClusterRole {NAME}", "rules.2.apiGroups", ["discovery.k8s.io"],
        apart="scope"),
    Row("controller.scope.namespace", "elsewhere", CONTROLLER, ARGS, Has("elsewhere")),
    *_placed("controller.", CONTROLLER, "nginx-ingress-controller"),
    Row("controller.extraEnvs", [WATCHER], CONTROLLER, f"{BOX}.env", AMONG),
    Row("controller.minAvailable", "60%", f"PodDisruptionBudget {NAME}-controller", "spec.minAvailable"),
    Row("controller.minReadySeconds", 4, CONTROLLER, "spec.minReadySeconds"),
    Row("controller.updateStrategy", {"rollingUpdate": {"maxSurge": 3}}, CONTROLLER, "spec.strategy"),
    Row("controller.terminationGracePeriodSeconds", 61, CONTROLLER, f"{POD}.terminationGracePeriodSeconds"),
    Row("controller.lifecycle", {"preStop": {"exec": {"command": ["sleep", "9"]}}}, CONTROLLER, f"{BOX}.lifecycle"),
    Row("controller.dnsPolicy", "Default", CONTROLLER, f"{POD}.dnsPolicy"),
    *(Row(f"controller.{name}", _TIMES, CONTROLLER, f"{BOX}.{name}") for name in ("livenessProbe", "readinessProbe")),
    Row("controller.defaultBackendService", "ns/other", CONTROLLER, ARGS, Has("ns/other")),
    Row("controller.metrics.enabled", True, _METRICS, "kind", "Service", base="local"),
    *_service("controller.metrics.service", _METRICS),
    Row("controller.metrics.service.servicePort", 9914, _METRICS, "spec.ports.metrics.port"),
    *_service("controller.service", _SERVICE),
    Row("controller.service.targetPorts.http", 81, _SERVICE, "spec.ports.http.targetPort"),
    Row("controller.service.targetPorts.https", 444, _SERVICE, "spec.ports.https.targetPort"),
    Row("controller.service.nodePorts.http", 30081, _SERVICE, "spec.ports.http.nodePort"),
    Row("controller.service.nodePorts.https", 30444, _SERVICE, "spec.ports.https.nodePort"),
    Row("controller.service.externalTrafficPolicy", "Local", _SERVICE, "spec.externalTrafficPolicy"),
    Row("controller.service.healthCheckNodePort", 30445, _SERVICE, "spec.healthCheckNodePort"),
    Row("defaultBackend.enabled", False, BACKEND, "", ABSENT, apart="no backend"),
    Row("defaultBackend.name", "last", f"Deployment {NAME}-last", "spec.selector.matchLabels.component", apart="front"),
    Row("defaultBackend", {"replicaCount": 3, "minAvailable": "40%"}, f"PodDisruptionBudget {NAME}-default-backend",
        "spec.minAvailable", "40%", apart="two backends"),
    *_placed("defaultBackend.", BACKEND, "nginx-ingress-default-backend"),
    *_service("defaultBackend.service", _DEFAULT),
    Row("defaultBackend.service.servicePort", 81, _DEFAULT, "spec.ports.http.port"),
]  # fmt: skip

LEGO = "Deployment binder-kube-lego"
LEGO_BOX = f"{POD}.containers.kube-lego"
_ISSUER = {"own": {"type": "selfSigned"}}

_LEGO = [
    Row("enabled", False, LEGO, "", ABSENT, apart="off"),
    *(Row(f"config.{key}", value, LEGO, f"{LEGO_BOX}.env.{key}.value", str(value))
      for key, value in {
          "LEGO_EMAIL": "own@example.org", "LEGO_URL": "https://ca.example/directory", "LEGO_PORT": 8079,
          "LEGO_LOG_LEVEL": "debug", "LEGO_SUPPORTED_INGRESS_CLASS": "own",
      }.items()),
    Row("config.LEGO_PORT", 8079, LEGO, f"{LEGO_BOX}.ports.http.containerPort"),
    Row("issuers", _ISSUER, "ConfigMap binder-kube-lego", "data.issuers.yaml", Has("own:\n")),
    Row("defaultIssuer", "laptop", LEGO, f"{LEGO_BOX}.args", Has("laptop")),
    Row("scope.enabled", False, "ClusterRole binder-kube-lego", "kind", "ClusterRole", apart="scope"),
    Row("rbac", {"create": False, "serviceAccountName": "own"}, LEGO, f"{POD}.serviceAccountName", "own"),
    *image("", LEGO, "kube-lego"),
    Row("replicaCount", 3, LEGO, "spec.replicas"),
    Row("resources", resources("lego-resources"), LEGO, f"{LEGO_BOX}.resources"),
    Row("nodeSelector", labels("lego-nodeselector"), LEGO, f"{POD}.nodeSelector"),
    Row("podAnnotations", labels("lego-podannotations"), LEGO, "spec.template.metadata.annotations"),
]  # fmt: skip

ROWS = [*below("nginx-ingress.", _INGRESS), *below("kube-lego.", _LEGO)]
