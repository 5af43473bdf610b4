"""Rows of the meta chart's own keys."""

from __future__ import annotations

from tests.charts.keys.rows import ABSENT, Has, Row, below
from tests.charts.keys.shared import POD, image, labels

_ENVIRONMENT = "spec.containers.builder.env"
_IMAGES = [
    Row("platform", {"name": "q/p", "tag": "1"}, "Deployment hub", f"{POD}.containers.hub.image", "q/p:1"),
    Row("build", {"name": "q/b", "tag": "2"}, "Pod of a build", "spec.containers.builder.image", "q/b:2"),
    Row("notebook", {"name": "q/n", "tag": "3"}, "Pod of a user", "spec.containers.notebook.image", "q/n:3"),
    Row("notebook", {"name": "q/n", "tag": "3"}, "Pod of a build", f"{_ENVIRONMENT}.BASE_IMAGE.value", "q/n:3"),
]  # fmt: skip

_MACHINE = [
    Row("caCertificates", "PEM", "ConfigMap machine", "data.ca.crt"),
    Row("packageIndex.pip", "https://pip.example/", "Pod of a build", f"{_ENVIRONMENT}.PIP_INDEX_URL.value"),
    Row("packageIndex.npm", "https://npm.example/", "Pod of a build", f"{_ENVIRONMENT}.NPM_CONFIG_REGISTRY.value"),
    Row("packageIndex.debian", "https://deb.example/", "Pod of a build", f"{_ENVIRONMENT}.DEBIAN_MIRROR.value"),
    Row("packageIndexEgress", [{"cidr": "10.9.9.9/32", "port": 3141}], "NetworkPolicy binder-builds", "spec.egress",
        Has({"to": [{"ipBlock": {"cidr": "10.9.9.9/32"}}], "ports": [{"port": 3141, "protocol": "TCP"}]})),
    Row("proxies.http", "http://one:1", "Pod of a build", f"{_ENVIRONMENT}.HTTP_PROXY.value"),
    Row("proxies.https", "http://two:2", "Pod of a build", f"{_ENVIRONMENT}.HTTPS_PROXY.value"),
    Row("proxies.none", ".three", "Pod of a build", f"{_ENVIRONMENT}.NO_PROXY.value"),
    Row("buildBaseStore", "/srv/base", "Pod of a build", "spec.volumes.base.hostPath.path"),
]  # fmt: skip

_GLOBAL = [
    Row("domain", "own.example", "Ingress binderhub", "spec.rules.0.host"),
    Row("domain", "own.example", "Binder", "hub_url", "https://hub.own.example:9443/"),
    Row("publicPort", 8181, "Service binder-nginx-ingress-controller", "spec.ports.http.port"),
    Row("publicTlsPort", 9443, "Service binder-nginx-ingress-controller", "spec.ports.https.port"),
    Row("hostUsers", True, "Deployment hub", f"{POD}.hostUsers"),
    *below("images.", _IMAGES),
    *below("machine.", _MACHINE),
]

_ENTRY = {"type": "url", "host": {"from": "new.example.org", "to": "to.example.org/x"}}
_REDIRECTOR = [
    Row("enabled", True, "Deployment redirector", "kind", "Deployment", base="local"),
    Row("nodeSelector", labels("redirector-nodeselector"), "Deployment redirector", f"{POD}.nodeSelector"),
    *image("", "Deployment redirector", "nginx"),
    Row("ingress.annotations", labels("redirector-ingress-annotations"), "Ingress redirector", "metadata.annotations"),
    Row("ingress.ingressClassName", "own", "Ingress redirector", "spec.ingressClassName"),
    Row("ingress.tls.secretName", "own-tls", "Ingress redirector", "spec.tls.0.secretName"),
    Row("redirects", [_ENTRY], "ConfigMap redirector-config", "data.nginx.conf",
        Has('server_name new.example.org;\n    return 302 "https://to.example.org/x";')),
    Row("redirects", [_ENTRY], "Ingress redirector", "spec.rules.0.host", "new.example.org"),
]  # fmt: skip

_STATIC = [
    Row("enabled", False, "Deployment static", "", ABSENT, apart="off"),
    Row("nodeSelector", labels("static-nodeselector"), "Deployment static", f"{POD}.nodeSelector"),
    *image("", "Deployment static", "nginx"),
    Row("paths", ["/badge.svg"], "Ingress static", "spec.rules.0.http.paths./badge.svg.backend.service.name", "binder"),
    Row("ingress.hosts", ["s.example"], "Ingress static", "spec.rules.0.host", "s.example"),
    Row("ingress.annotations", labels("static-ingress-annotations"), "Ingress static", "metadata.annotations"),
    Row("ingress.ingressClassName", "own", "Ingress static", "spec.ingressClassName"),
    Row("ingress.tls.enabled", True, "Ingress static", "spec.tls.0.secretName", "kubelego-tls-static", apart="tls"),
    Row("ingress.tls.secretName", "own-tls", "Ingress static", "spec.tls.0.secretName", base="static tls"),
]

ROWS = [
    *below("global.", _GLOBAL, apart="global"),
    Row("binderhubEnabled", False, "Deployment binder", "", ABSENT, apart="no binderhub"),
    *below("redirector.", _REDIRECTOR),
    *below("static.", _STATIC),
    Row("imagePullSecrets", ["all"], "Deployment redirector", f"{POD}.imagePullSecrets", Has({"name": "all"})),
    Row("imagePullSecrets", ["all"], "Deployment static", f"{POD}.imagePullSecrets", Has({"name": "all"})),
    Row("priorityClasses", {"own": 1000000}, "PriorityClass own", "value", 1000000),
]
