"""Rows of the jupyterhub chart: the hub, its proxy, the Ingress, the culler."""

from __future__ import annotations

from tests.charts.keys.bases import JUPYTERHUB
from tests.charts.keys.rows import ABSENT, AMONG, Has, Row, below
from tests.charts.keys.shared import (
    POD,
    addresses,
    budget,
    extra_files,
    ingress,
    labels,
    more_of_a_pod,
    pod,
    policy,
    probes,
    service,
)

HUB, PROXY, SECRET = "Deployment hub", "Deployment proxy", "Secret hub"
CHP = f"{POD}.containers.chp"
CLAIM = "PersistentVolumeClaim hub-db-dir"
PORT = {"name": "more", "port": 99, "targetPort": 99}

_ALL = [
    Row("fullnameOverride", "own", "Deployment own-hub", "kind", "Deployment", apart="fullname"),
    Row("nameOverride", "own", HUB, "metadata.labels.app", apart="name"),
    Row("nameOverride", "own", "Pod of a user", "metadata.labels.app", apart="name"),
    Row("custom", {"of": {"logo": "/own.svg"}}, "JupyterHub", "logo_file", "/own.svg"),
    Row("debug.enabled", True, PROXY, f"{CHP}.command", Has("--log-level=debug")),
    Row("debug.enabled", True, HUB, f"{POD}.containers.hub.args", Has("--debug")),
    Row("debug.enabled", True, "Spawner", "debug"),
    Row("rbac.create", False, "Role hub", "", ABSENT, apart="off"),
    Row("imagePullSecrets", ["all-pull"], HUB, f"{POD}.imagePullSecrets", Has({"name": "all-pull"})),
    Row("imagePullSecrets", ["all-pull"], PROXY, f"{POD}.imagePullSecrets", Has({"name": "all-pull"})),
    Row("imagePullSecrets", ["all-pull"], "Pod of a user", "spec.imagePullSecrets", Has({"name": "all-pull"})),
]

# Key → the trait of JupyterHub that it sets.
_TRAITS = {
    "baseUrl": ("/h/", "base_url"),
    "concurrentSpawnLimit": (7, "concurrent_spawn_limit"),
    "activeServerLimit": (8, "active_server_limit"),
    "allowNamedServers": (True, "allow_named_servers"),
    "namedServerLimitPerUser": (9, "named_server_limit_per_user"),
    "authenticatePrometheus": (False, "authenticate_prometheus"),
    "redirectToServer": (False, "redirect_to_server"),
    "shutdownOnLogout": (True, "shutdown_on_logout"),
}

_HUB = [
    *(Row(key, value, "JupyterHub", trait, apart="base url" if key == "baseUrl" else "")
      for key, (value, trait) in _TRAITS.items()),
    Row("baseUrl", "/h/", HUB, f"{POD}.containers.hub.readinessProbe.httpGet.path", "/h/hub/health", apart="base url"),
    Row("baseUrl", "/h/", "Ingress jupyterhub", "spec.rules.0.http.paths.0.path", apart="base url"),
    Row("config", {"JupyterHub": {"admin_access": False}}, "JupyterHub", "admin_access", False),
    Row("config", {"KubeSpawner": {"http_timeout": 33}}, "Spawner", "http_timeout", 33),
    Row("config", {"BinderSpawner": {"cors_allow_origin": "*"}}, "Spawner", "cors_allow_origin", "*"),
    Row("cookieSecret", "4" * 64, SECRET, "data.hub.config.JupyterHub.cookie_secret"),
    Row("cookieSecret", "4" * 64, "JupyterHub", "cookie_secret", bytes.fromhex("4" * 64)),
    Row("existingSecret", "mine", HUB, f"{POD}.volumes.existing-secret.secret.secretName"),
    Row("consecutiveFailureLimit", 11, "Spawner", "consecutive_failure_limit"),
    Row("templatePaths", ["/own/templates"], "JupyterHub", "template_paths", AMONG),
    Row("templateVars", {"announcement": "words"}, "JupyterHub", "template_vars"),
    Row("services", {"own": {"url": "http://own:80"}}, "JupyterHub", "services.own.url", "http://own:80"),
    Row("services.own.apiToken", "5" * 64, "JupyterHub", "services.own.api_token"),
    Row("loadRoles", {"own": {"scopes": ["self"]}}, "JupyterHub", "load_roles.own.scopes", ["self"]),
    Row("extraConfig", {"90-own": "c.JupyterHub.log_format = 'own'"}, "JupyterHub", "log_format", "own"),
    *extra_files("extraFiles", SECRET, HUB, "hub"),
    Row("command", ["sh", "-c"], HUB, f"{POD}.containers.hub.command"),
    Row("args", ["x"], HUB, f"{POD}.containers.hub.args", apart="args"),
    Row("extraContainers", [{"name": "beside", "image": "i"}], HUB, f"{POD}.containers.beside.image", "i"),
    Row("labels", labels("hub-labels"), HUB, "spec.template.metadata.labels"),
    Row("annotations", labels("hub-annotations"), HUB, "spec.template.metadata.annotations"),
    Row("podSecurityContext", {"fsGroup": 7}, HUB, f"{POD}.securityContext"),
    Row("containerSecurityContext", {"runAsUser": 7}, HUB, f"{POD}.containers.hub.securityContext"),
    Row("revisionHistoryLimit", 3, HUB, "spec.revisionHistoryLimit"),
    Row("deploymentStrategy", {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2}}, HUB, "spec.strategy"),
    *pod("", HUB, "hub"),
    *more_of_a_pod("", HUB, "hub"),
    *probes("", HUB, "hub"),
    *service("service", "Service hub"),
    *addresses("service", "Service hub"),
    Row("service.extraPorts", [PORT], "Service hub", "spec.ports", AMONG),
    Row("service.ports.nodePort", 30124, "Service hub", "spec.ports.hub.nodePort"),
    Row("service.ports.appProtocol", "http", "Service hub", "spec.ports.hub.appProtocol"),
    Row("serviceAccount.create", False, "ServiceAccount hub", "", ABSENT, apart="off"),
    Row("serviceAccount.name", "me", HUB, f"{POD}.serviceAccountName", apart="account"),
    Row("serviceAccount.name", "me", "ServiceAccount me", "kind", "ServiceAccount", apart="account"),
    Row("serviceAccount.annotations", labels("hub-account"), "ServiceAccount hub", "metadata.annotations"),
    *budget("pdb", "PodDisruptionBudget hub", on=False),
    Row("networkPolicy.enabled", False, "NetworkPolicy hub", "", ABSENT, apart="off"),
    *policy("networkPolicy", "hub"),
]  # fmt: skip

_DATABASE = [
    Row("type", "sqlite-memory", "JupyterHub", "db_url", "sqlite://", apart="memory"),
    Row("type", "sqlite-memory", CLAIM, "", ABSENT, apart="memory"),
    Row("url", "mysql+pymysql://two/hub", "JupyterHub", "db_url", base="mysql"),
    Row("password", "secret", SECRET, "data.hub.db.password", base="mysql"),
    Row("password", "secret", "Environment of the hub", "MYSQL_PWD", base="mysql"),
    Row("upgrade", True, HUB, f"{POD}.containers.hub.args", Has("--upgrade-db"), base="mysql"),
    Row("pvc.annotations", labels("database-pvc-annotations"), CLAIM, "metadata.annotations"),
    Row("pvc.selector", {"matchLabels": labels("database-pvc-selector")}, CLAIM, "spec.selector"),
    Row("pvc.accessModes", ["ReadWriteMany"], CLAIM, "spec.accessModes"),
    Row("pvc.storage", "3Gi", CLAIM, "spec.resources.requests.storage"),
    Row("pvc.subPath", "sub", HUB, f"{POD}.containers.hub.volumeMounts.pvc.subPath"),
    Row("pvc.storageClassName", "fast", CLAIM, "spec.storageClassName"),
]

_PROXY = [
    Row("secretToken", "own", SECRET, "data.hub.config.ConfigurableHTTPProxy.auth_token"),
    Row("labels", labels("proxy-labels"), PROXY, "spec.template.metadata.labels"),
    Row("annotations", labels("proxy-annotations"), PROXY, "spec.template.metadata.annotations"),
    Row("deploymentStrategy", {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2}}, PROXY, "spec.strategy"),
    *service("service", "Service proxy-public"),
    *addresses("service", "Service proxy-public"),
    Row("service.labels", labels("proxy-service-labels"), "Service proxy-public", "metadata.labels"),
    Row("service.extraPorts", [PORT], "Service proxy-public", "spec.ports", AMONG),
    Row("service.nodePorts.http", 30080, "Service proxy-public", "spec.ports.http.nodePort"),
    Row("service.loadBalancerSourceRanges", ["192.0.2.0/24"], "Service proxy-public", "spec.loadBalancerSourceRanges"),
    Row("service.externalIPs", ["192.0.2.5"], "Service proxy-public", "spec.externalIPs"),
    *pod("chp.", PROXY, "chp"),
    Row("chp.command", ["own-proxy"], PROXY, f"{CHP}.command.0", "own-proxy"),
    Row("chp.extraCommandLineFlags", ["--x={{ .Release.Name }}"], PROXY, f"{CHP}.command", Has("--x=binder")),
    Row("chp.defaultTarget", "http://t", PROXY, f"{CHP}.command", Has("--default-target=http://t")),
    Row("chp.errorTarget", "http://e", PROXY, f"{CHP}.command", Has("--error-target=http://e")),
    Row("chp.revisionHistoryLimit", 3, PROXY, "spec.revisionHistoryLimit"),
    Row("chp.containerSecurityContext", {"runAsUser": 7}, PROXY, f"{CHP}.securityContext"),
    *probes("chp.", PROXY, "chp"),
    *budget("chp.pdb", "PodDisruptionBudget proxy", on=False),
    Row("chp.networkPolicy.enabled", False, "NetworkPolicy proxy", "", ABSENT, apart="off"),
    *policy("chp.networkPolicy", "proxy"),
]

_CULLER = [
    Row("enabled", False, "Culler", "", ABSENT, apart="off"),
    Row("users", False, "Culler", "cull_users"),
    Row("adminUsers", False, "Culler", "cull_admin_users"),
    Row("removeNamedServers", True, "Culler", "remove_named_servers"),
    Row("timeout", 61, "Culler", "timeout"),
    Row("every", 62, "Culler", "cull_every"),
    Row("concurrency", 63, "Culler", "concurrency"),
    Row("maxAge", 2592000, "Culler", "max_age"),
]

_EXTRA_PATH = {"path": "/p", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 1}}}}

ROWS = below(
    f"{JUPYTERHUB}.",
    [
        *_ALL,
        *below("hub.", _HUB),
        *below("hub.db.", _DATABASE),
        *below("proxy.", _PROXY),
        *below("cull.", _CULLER),
        *ingress("ingress", "Ingress jupyterhub"),
        Row("ingress.extraPaths", [_EXTRA_PATH], "Ingress jupyterhub", "spec.rules.0.http.paths", AMONG),
    ],
)
