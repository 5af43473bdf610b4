"""A values file as operators of a public Binder keep theirs loads, and each of its keys arrives."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml
from tests.charts.conftest import at

from binderops.delivery.placing import planned_pods
from binderops.kube.placement import unmet
from binderops.kube.schemas import validate

# The keys that mybinder.org's deployment sets (charts.md, marked *), with values of their kind.
VALUES = """
projectName: binder-prod
userNodeSelector: &users {hub.jupyter.org/node-purpose: user}
coreNodeSelector: &core {hub.jupyter.org/node-purpose: core}
global: {domain: mybinder.example.org, publicPort: 80, publicTlsPort: 443}
binderhub:
  replicas: 2
  nodeSelector: *core
  resources: {requests: {cpu: "0.25", memory: 1Gi}, limits: {cpu: "2", memory: 1Gi}}
  networkPolicy: {enabled: true, egress: {tcpPorts: [80, 443, 9418, 873], cidr: 0.0.0.0/0}}
  hpa: {enabled: true, minReplicas: 2, maxReplicas: 4, targetCPU: 90}
  ingress: {enabled: true, hosts: [mybinder.example.org], https: {enabled: true, type: kube-lego}}
  extraConfig:
    01-bans: |
      c.GitHubRepoProvider.banned_specs = ["^ipython/.*"]
  extraEnv: {GOOGLE_APPLICATION_CREDENTIALS: /event-secret/service-account.json}
  podAnnotations: {rollme: "1"}
  config:
    BinderHub:
      use_registry: true
      per_repo_quota: 100
      build_node_selector: *users
      banner_message: "<b>hello</b>"
      cors_allow_origin: "*"
    LaunchQuota: {total_quota: 300}
    GitHubRepoProvider: {high_quota_specs: ["^jupyterlab/.*"]}
  jupyterhub:
    hub:
      nodeSelector: *core
      resources: {requests: {cpu: "0.25", memory: 1Gi}}
      service: {annotations: {prometheus.io/scrape: "true"}}
      networkPolicy: {enabled: true}
      extraPodSpec: {priorityClassName: mybinder}
      config: {JupyterHub: {hub_routespec: /hub/api/}, BinderSpawner: {cors_allow_origin: "*"}}
      extraConfig: {neverRestart: "c.KubeSpawner.delete_stopped_pods = True"}
    proxy:
      nodeSelector: null
      service: {type: ClusterIP}
      chp:
        nodeSelector: *core
        resources: {requests: {cpu: "0.5"}}
        extraCommandLineFlags: [--statsd-host=statsd]
        networkPolicy: {enabled: true}
    singleuser:
      nodeSelector: *users
      memory: {guarantee: 450M, limit: 2G}
      cpu: {guarantee: 0.01, limit: 1}
      extraEnv: {GLIBC_TUNABLES: glibc.malloc.arena_max=1}
      storage: {extraVolumes: [], extraVolumeMounts: []}
      cloudMetadata: {blockWithIptables: true}
      initContainers: []
    cull: {every: 600, timeout: 600, maxAge: 21600}
    ingress: {enabled: true, hosts: [hub.mybinder.example.org], annotations: {kubernetes.io/tls-acme: "true"}}
    scheduling: {userScheduler: {enabled: false, nodeSelector: *core}, userPlaceholder: {enabled: false, replicas: 10}}
nginx-ingress:
  controller:
    replicaCount: 3
    scope: {enabled: true}
    config: {proxy-body-size: 64m}
    service: {loadBalancerIP: 192.0.2.1, annotations: {a: b}}
    stats: {enabled: false}
    metrics: {enabled: true}
    nodeSelector: *core
  defaultBackend: {nodeSelector: *core}
grafana: {enabled: false, ingress: {hosts: [grafana.example.org]}}
prometheus: {enabled: false}
minesweeper: {enabled: false, image: x}
redirector:
  enabled: true
  nodeSelector: *core
  redirects:
    - {type: host, host: {from: beta.mybinder.example.org, to: mybinder.example.org}}
static: {ingress: {hosts: [static.mybinder.example.org], tls: {enabled: true}}, paths: [/badge.svg]}
"""


def test_it_loads_and_arrives(render: Any) -> None:
    objects = render(yaml.safe_load(VALUES), environment=False)
    assert [f"{key}: {finding}" for key, obj in objects.items() for finding in validate(obj)] == []

    core = {"hub.jupyter.org/node-purpose": "core"}
    placed = {
        name: obj["spec"]["template"]["spec"].get("nodeSelector") for name, obj in objects.of_kind("Deployment").items()
    }
    assert {name for name, selector in placed.items() if selector == core} == set(placed) - {"static", "registry"}

    hub = objects["Deployment", "hub"]["spec"]["template"]["spec"]
    assert hub["priorityClassName"] == "mybinder"
    chp = objects["Deployment", "proxy"]["spec"]["template"]["spec"]["containers"][0]
    assert chp["command"][-1] == "--statsd-host=statsd"
    assert objects["Deployment", "binder-nginx-ingress-controller"]["spec"]["replicas"] == 3
    assert objects["ConfigMap", "binder-nginx-ingress-controller"]["data"] == {"proxy-body-size": "64m"}
    assert objects["Service", "binder-nginx-ingress-controller"]["spec"]["loadBalancerIP"] == "192.0.2.1"
    assert objects["HorizontalPodAutoscaler", "binder"]["spec"]["maxReplicas"] == 4
    ingress = objects["Ingress", "binderhub"]
    assert ingress["metadata"]["annotations"]["kubernetes.io/tls-acme"] == "true"
    assert ingress["spec"]["tls"] == [{"secretName": "kubelego-tls-binder-binder", "hosts": ["mybinder.example.org"]}]
    paths = objects["Ingress", "static"]["spec"]["rules"][0]["http"]["paths"]
    assert [(path["path"], path["backend"]["service"]["name"]) for path in paths] == [
        ("/", "static"),
        ("/badge.svg", "binder"),
    ]
    told = yaml.safe_load(base64.b64decode(objects["Secret", "binder-secret"]["data"]["values.yaml"]))
    assert told["config"]["BinderHub"]["hub_url"] == "https://hub.mybinder.example.org/"
    assert told["config"]["LaunchQuota"] == {"total_quota": 300}
    assert "banned_specs" in told["extraConfig"]["01-bans"]


def test_its_selectors_are_met_by_the_only_node(render: Any) -> None:
    """As many as there are, of both purposes; one that no node here has is found, whoever bears it."""
    node = {"metadata": {"name": "local", "labels": {"kubernetes.io/os": "linux"}}}
    values = yaml.safe_load(VALUES)
    placed = [pod for pod in planned_pods(render(values, environment=False).values()) if pod.spec.get("nodeSelector")]
    assert len(placed) == 8
    assert {pod.what for pod in placed} > {
        "Deployment hub",
        "users' servers, binderhub.jupyterhub.singleuser",
        "builds, binderhub.config.BinderHub.build_node_selector",
    }
    assert [pod for pod in placed if unmet(pod.spec, node)] == []

    pools = yaml.safe_load(VALUES.replace("hub.jupyter.org/node-purpose", "own.example/pool"))
    nowhere = [pod.what for pod in planned_pods(render(pools, environment=False).values()) if unmet(pod.spec, node)]
    assert nowhere == [pod.what for pod in placed]


@pytest.mark.parametrize(
    ("part", "other", "who"),
    [
        ("corePods", "user", ["Deployment hub", "Deployment proxy"]),
        ("userPods", "core", ["users' servers, binderhub.jupyterhub.singleuser"]),
    ],
)
def test_a_purpose_that_is_required(render: Any, part: str, other: str, who: list[str]) -> None:
    """It is met by the only node, unless somebody labelled that for the other one."""
    key = f"binderhub.jupyterhub.scheduling.{part}.nodeAffinity.matchNodePurpose"
    planned = list(planned_pods(render(at(key, "require")).values()))
    for labels, nowhere in (({}, []), ({"hub.jupyter.org/node-purpose": other}, who)):
        node = {"metadata": {"name": "local", "labels": labels}}
        assert [pod.what for pod in planned if unmet(pod.spec, node)] == nowhere
