"""Keys that are honoured: what an operator sets shows up where it belongs. One row a key: key, value, object, place."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml
from tests.charts.conftest import Rendered, at

HUB, PROXY, BINDER = ("Deployment", "hub"), ("Deployment", "proxy"), ("Deployment", "binder")
POD = "spec.template.spec"
BOX = f"{POD}.containers.0"
ENV = [{"name": "A", "value": "1"}]
FROM = {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
VOLUME, MOUNT = {"name": "v", "emptyDir": {}}, {"name": "v", "mountPath": "/v"}
INIT = {"name": "first", "image": "i"}
RESOURCES = {"limits": {"memory": "1Gi", "cpu": 2}, "requests": {"memory": "64Mi"}}
TOLERATION = {"key": "k", "operator": "Exists"}
HOOK = {"preStop": {"exec": {"command": ["true"]}}}
JH = "binderhub.jupyterhub."

Row = tuple[str, Any, tuple[str, str], str, Any]


def pods(prefix: str, target: tuple[str, str], names: str) -> list[Row]:
    """The keys that every pod of these charts has."""
    rows: dict[str, tuple[Any, str, Any]] = {
        "extraEnv": ({"A": "1"}, f"{BOX}.env.+", ENV[0]),
        "extraEnv#from": ({"A": FROM}, f"{BOX}.env.+", {"name": "A", **FROM}),
        "extraEnv#list": (ENV, f"{BOX}.env.+", ENV[0]),
        "extraVolumes": ([VOLUME], f"{POD}.volumes.+", VOLUME),
        "extraVolumeMounts": ([MOUNT], f"{BOX}.volumeMounts.+", MOUNT),
        "initContainers": ([INIT], f"{POD}.initContainers.+", INIT),
        "resources": (RESOURCES, f"{BOX}.resources", RESOURCES),
        "nodeSelector": ({"n": "1"}, f"{POD}.nodeSelector.n", "1"),
        "tolerations": ([TOLERATION], f"{POD}.tolerations.+", TOLERATION),
        "lifecycle": (HOOK, f"{BOX}.lifecycle", HOOK),
        "extraPodSpec": ({"dnsPolicy": "None"}, f"{POD}.dnsPolicy", "None"),
        "image": ({"name": "q/x", "tag": "1"}, f"{BOX}.image", "q/x:1"),
        "image.pullPolicy": ("Always", f"{BOX}.imagePullPolicy", "Always"),
        "image.pullSecrets": (["s"], f"{POD}.imagePullSecrets.+", {"name": "s"}),
        "livenessProbe.failureThreshold": (7, f"{BOX}.livenessProbe.failureThreshold", 7),
        "readinessProbe.periodSeconds": (9, f"{BOX}.readinessProbe.periodSeconds", 9),
    }
    return [(prefix + name, value, target, place, seen) for name, (value, place, seen) in rows.items() if name in names]


COMMON = (
    "extraEnv extraEnv#from extraEnv#list resources nodeSelector tolerations extraPodSpec image image.pullPolicy "
    "image.pullSecrets"
)
MORE = f"{COMMON} extraVolumes extraVolumeMounts initContainers lifecycle"
PROBES = "livenessProbe.failureThreshold readinessProbe.periodSeconds"

ROWS: list[Row] = [
    *pods("binderhub.", BINDER, MORE),
    *pods("binderhub.deployment.", BINDER, PROBES),
    *pods(f"{JH}hub.", HUB, f"{MORE} {PROBES}"),
    *pods(f"{JH}proxy.chp.", PROXY, f"{COMMON} {PROBES}"),
    ("binderhub.replicas", 2, BINDER, "spec.replicas", 2),
    ("binderhub.podAnnotations", {"a": "b"}, BINDER, "spec.template.metadata.annotations.a", "b"),
    ("binderhub.deployment.labels", {"a": "b"}, BINDER, "spec.template.metadata.labels.a", "b"),
    ("binderhub.service.type", "NodePort", ("Service", "binder"), "spec.type", "NodePort"),
    ("binderhub.service.labels", {"a": "b"}, ("Service", "binder"), "metadata.labels.a", "b"),
    ("binderhub.service.annotations", {"a": "b"}, ("Service", "binder"), "metadata.annotations.a", "b"),
    ("binderhub.service.loadBalancerIP", "192.0.2.1", ("Service", "binder"), "spec.loadBalancerIP", "192.0.2.1"),
    ("binderhub.ingress.annotations", {"a": "b"}, ("Ingress", "binderhub"), "metadata.annotations.a", "b"),
    ("binderhub.ingress.hosts", ["h.example"], ("Ingress", "binderhub"), "spec.rules.0.host", "h.example"),
    ("binderhub.ingress.ingressClassName", "other", ("Ingress", "binderhub"), "spec.ingressClassName", "other"),
    ("binderhub.registryServer.storage", "7Gi", ("PersistentVolumeClaim", "registry"),
     "spec.resources.requests.storage", "7Gi"),
    (f"{JH}hub.extraContainers", [INIT], HUB, f"{POD}.containers.+", INIT),
    (f"{JH}hub.command", ["sh"], HUB, f"{BOX}.command", ["sh"]),
    (f"{JH}hub.args", ["x"], HUB, f"{BOX}.args", ["x"]),
    (f"{JH}hub.labels", {"a": "b"}, HUB, "spec.template.metadata.labels.a", "b"),
    (f"{JH}hub.annotations", {"a": "b"}, HUB, "spec.template.metadata.annotations.a", "b"),
    (f"{JH}hub.service.annotations", {"a": "b"}, ("Service", "hub"), "metadata.annotations.a", "b"),
    (f"{JH}hub.podSecurityContext.fsGroup", 7, HUB, f"{POD}.securityContext.fsGroup", 7),
    (f"{JH}hub.containerSecurityContext.runAsUser", 7, HUB, f"{BOX}.securityContext.runAsUser", 7),
    (f"{JH}hub.revisionHistoryLimit", 3, HUB, "spec.revisionHistoryLimit", 3),
    (f"{JH}hub.db.pvc.storage", "3Gi", ("PersistentVolumeClaim", "hub-db-dir"),
     "spec.resources.requests.storage", "3Gi"),
    (f"{JH}hub.db.pvc.storageClassName", "fast", ("PersistentVolumeClaim", "hub-db-dir"),
     "spec.storageClassName", "fast"),
    (f"{JH}hub.serviceAccount.name", "me", HUB, f"{POD}.serviceAccountName", "me"),
    (f"{JH}proxy.labels", {"a": "b"}, PROXY, "spec.template.metadata.labels.a", "b"),
    (f"{JH}proxy.annotations", {"a": "b"}, PROXY, "spec.template.metadata.annotations.a", "b"),
    (f"{JH}proxy.service.type", "NodePort", ("Service", "proxy-public"), "spec.type", "NodePort"),
    (f"{JH}proxy.service.nodePorts.http", 30080, ("Service", "proxy-public"), "spec.ports.0.nodePort", 30080),
    (f"{JH}proxy.chp.command", ["x"], PROXY, f"{BOX}.command.0", "x"),
    (f"{JH}proxy.chp.extraCommandLineFlags", ["--x"], PROXY, f"{BOX}.command.+", "--x"),
    (f"{JH}proxy.chp.defaultTarget", "http://t", PROXY, f"{BOX}.command.+", "--default-target=http://t"),
    (f"{JH}proxy.chp.errorTarget", "http://e", PROXY, f"{BOX}.command.+", "--error-target=http://e"),
    (f"{JH}ingress.annotations", {"a": "b"}, ("Ingress", "jupyterhub"), "metadata.annotations.a", "b"),
    (f"{JH}ingress.hosts", ["h.example"], ("Ingress", "jupyterhub"), "spec.rules.0.host", "h.example"),
    ("redirector.nodeSelector", {"n": "1"}, ("Deployment", "redirector"), f"{POD}.nodeSelector.n", "1"),
    ("static.nodeSelector", {"n": "1"}, ("Deployment", "static"), f"{POD}.nodeSelector.n", "1"),
    ("static.ingress.annotations", {"a": "b"}, ("Ingress", "static"), "metadata.annotations.a", "b"),
]  # fmt: skip


def found_at(obj: Any, place: str) -> Any:
    """What stands at a dotted place; `+` is the whole list, in which the expected entry is looked for."""
    for part in place.removesuffix(".+").split("."):
        obj = obj[int(part)] if isinstance(obj, list) else obj[part]
    return obj


@pytest.mark.parametrize(("key", "value", "target", "place", "seen"), ROWS, ids=[row[0] for row in ROWS])
def test_a_key_shows_up(render: Any, key: str, value: Any, target: tuple[str, str], place: str, seen: Any) -> None:
    objects = render(at("redirector.enabled", True), at(key.partition("#")[0], value))
    found = found_at(objects[target], place)
    assert seen in found if place.endswith("+") else includes(found, seen)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("custom", {"a": {"b": 1}}),
        ("hub.config", {"Authenticator": {"admin_users": ["a"]}}),
        ("hub.extraConfig", {"90-own": "c.x = 1"}),
        ("hub.services", {"own": {"url": "http://s"}}),
        ("hub.loadRoles", {"own": {"scopes": ["x"]}}),
        ("singleuser.extraEnv", {"A": "1"}),
        ("singleuser.memory", {"limit": "3G", "guarantee": "1G"}),
        ("singleuser.cpu", {"limit": 1.5, "guarantee": 0.5}),
        ("singleuser.storage.extraVolumes", [VOLUME]),
        ("singleuser.initContainers", [INIT]),
        ("singleuser.nodeSelector", {"n": "1"}),
        ("singleuser.extraTolerations", [TOLERATION]),
        ("singleuser.defaultUrl", "/tree"),
        ("singleuser.profileList", [{"display_name": "a"}]),
        ("cull.maxAge", 60),
    ],
)
def test_what_the_hub_is_told(render: Any, key: str, value: Any) -> None:
    """In a running hub: tests/hub/test_hub_config.py."""
    told = told_by(render(at(JH + key, value)), "hub")
    assert includes(found_at(told, key), value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("BinderHub.banner_message", "<b>news</b>"),
        ("BinderHub.about_message", "about"),
        ("BinderHub.template_path", "/etc/own"),
        ("BinderHub.extra_static_path", "/etc/own/static"),
        ("BinderHub.cors_allow_origin", "*"),
        ("BinderHub.per_repo_quota", 5),
        ("BinderHub.per_repo_quota_higher", 50),
        ("BinderHub.concurrent_build_limit", 3),
        ("LaunchQuota.total_quota", 10),
        ("GitHubRepoProvider.banned_specs", ["^x/"]),
        ("GitHubRepoProvider.allowed_specs", ["^y/"]),
        ("BuildExecutor.repo2docker_extra_args", ["--debug"]),
        ("KubernetesBuildExecutor.resources", RESOURCES),
        ("Launcher.launch_timeout", 30),
    ],
)
def test_what_the_binder_is_told(render: Any, key: str, value: Any) -> None:
    """In a running binder: tests/binder."""
    told = told_by(render(at(f"binderhub.config.{key}", value)), "binder-secret")
    assert includes(found_at(told["config"], key), value)


@pytest.mark.parametrize(("key", "target"), [("binderhub.", BINDER), (f"{JH}hub.", HUB)])
def test_extra_files(render: Any, key: str, target: tuple[str, str]) -> None:
    files = {
        "a.txt": {"mountPath": "/etc/a.txt", "stringData": "words", "mode": 0o400},
        "b.json": {"mountPath": "/etc/b.json", "data": {"x": 1}},
    }
    objects = render(at(f"{key}extraFiles", files))
    data = objects["Secret", "hub" if target == HUB else "binder-secret"].get("data", {})
    text = objects["Secret", "hub" if target == HUB else "binder-secret"].get("stringData", {})
    written = {name: text.get(name) or base64.b64decode(data[name]).decode() for name in files}
    assert written["a.txt"].strip() == "words"
    assert yaml.safe_load(written["b.json"]) == {"x": 1}
    mounts = {mount["mountPath"]: mount for mount in found_at(objects[target], f"{BOX}.volumeMounts")}
    assert (mounts["/etc/a.txt"]["subPath"], mounts["/etc/b.json"]["subPath"]) == ("a.txt", "b.json")
    (volume,) = (entry for entry in found_at(objects[target], f"{POD}.volumes") if entry["name"] == "files")
    assert {item["key"]: item.get("mode") for item in volume["secret"]["items"]} == {"a.txt": 0o400, "b.json": None}


def told_by(objects: Rendered, secret: str) -> Any:
    return yaml.safe_load(base64.b64decode(objects["Secret", secret]["data"]["values.yaml"]))


def includes(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return all(key in found and includes(found[key], value) for key, value in wanted.items())
    return bool(found == wanted)
