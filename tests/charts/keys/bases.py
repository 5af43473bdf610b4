"""What is rendered besides the keys of a row: what is not there cannot show what it was told."""

from __future__ import annotations

from typing import Any

from tests.charts.conftest import FIXED_TOKENS, at, merge

JUPYTERHUB = "binderhub.jupyterhub"
# Reads what operators put below `custom`, as their own extra configuration does.
READER = "from z2jh import get_config\nc.JupyterHub.logo_file = get_config('custom.of.logo', '')\n"

STATIC = {"type": "static", "static": {"pvcName": "all"}}

_EVERYTHING = merge(
    FIXED_TOKENS,
    at("global.publicTlsPort", 8443),
    at("redirector", {"enabled": True, "redirects": [{"type": "host", "host": {"from": "old.example.org"}}]}),
    at("binderhub.config.BinderHub.hub_api_token", ""),
    at("nginx-ingress.controller", {"replicaCount": 2, "metrics": {"enabled": True}}),
    at("kube-lego", {"enabled": True, "config": {"LEGO_EMAIL": "admin@example.org"}}),
    at(f"{JUPYTERHUB}.scheduling.podPriority.enabled", True),
    at(f"{JUPYTERHUB}.singleuser.storage.type", "dynamic"),
    at(f"{JUPYTERHUB}.hub.extraConfig.00-reader", READER),
)

BASES: dict[str, dict[str, Any]] = {
    "on": _EVERYTHING,
    "local": FIXED_TOKENS,
    "https": merge(_EVERYTHING, at("binderhub.ingress.https.enabled", True)),
    "static tls": merge(_EVERYTHING, at("static.ingress.tls.enabled", True)),
    "hpa": merge(_EVERYTHING, at("binderhub.hpa.enabled", True)),
    "no resources": merge(_EVERYTHING, at("binderhub.config.KubernetesBuildExecutor.resources", None)),
    "mysql": merge(_EVERYTHING, at(f"{JUPYTERHUB}.hub.db", {"type": "mysql", "url": "mysql+pymysql://one/hub"})),
    "static volume": merge(_EVERYTHING, at(f"{JUPYTERHUB}.singleuser.storage", STATIC)),
    "own registry": merge(_EVERYTHING, at("binderhub.registry.url", "https://one.example")),
}
