"""What the local environment's ten lines become, and what the images, addresses and tokens are made from."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import yaml
from tests.charts.conftest import FIXED_TOKENS, NAMESPACE, Rendered, at, merge


def container(objects: Rendered, deployment: str) -> dict[str, Any]:
    found: dict[str, Any] = objects["Deployment", deployment]["spec"]["template"]["spec"]["containers"][0]
    return found


def secret_text(objects: Rendered, secret: str, key: str) -> str:
    return base64.b64decode(objects["Secret", secret]["data"][key]).decode()


def binder_values(objects: Rendered) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(secret_text(objects, "binder-secret", "values.yaml"))
    return values


def hosts(objects: Rendered) -> dict[str, list[str]]:
    return {
        name: [rule.get("host", "") for rule in obj["spec"]["rules"]]
        for name, obj in objects.of_kind("Ingress").items()
    }


def test_every_host_comes_from_one_domain(local: Rendered) -> None:
    assert hosts(local) == {
        "binderhub": ["binder.localhost"],
        "jupyterhub": ["hub.binder.localhost"],
        "static": ["static.binder.localhost"],
    }
    assert {obj["spec"]["ingressClassName"] for obj in local.of_kind("Ingress").values()} == {"nginx"}


def test_without_a_domain_the_rules_have_no_host(render: Any) -> None:
    objects = render({"global": {"domain": ""}})
    assert hosts(objects) == {"binderhub": [""], "jupyterhub": [""]}
    assert "host" not in objects["Ingress", "binderhub"]["spec"]["rules"][0]
    assert not binder_values(objects)["config"]["BinderHub"]["hub_url"]


@pytest.mark.parametrize(
    ("port", "tls", "url", "ports"),
    [
        (8080, 0, "http://hub.d.example:8080/", {"http": 8080}),
        (80, 0, "http://hub.d.example/", {"http": 80}),
        (80, 443, "https://hub.d.example/", {"http": 80, "https": 443}),
        (8080, 8443, "https://hub.d.example:8443/", {"http": 8080, "https": 8443}),
    ],
)
def test_public_ports_stand_once(render: Any, port: int, tls: int, url: str, ports: dict[str, int]) -> None:
    objects = render({"global": {"domain": "d.example", "publicPort": port, "publicTlsPort": tls}})
    assert binder_values(objects)["config"]["BinderHub"]["hub_url"] == url
    service = objects["Service", "binder-nginx-ingress-controller"]
    assert {entry["name"]: entry["port"] for entry in service["spec"]["ports"]} == ports


def test_only_the_ingress_controller_is_public(local: Rendered) -> None:
    public = [name for name, obj in local.of_kind("Service").items() if obj["spec"].get("type") == "LoadBalancer"]
    assert public == ["binder-nginx-ingress-controller"]


def test_given_addresses_stay(render: Any) -> None:
    config = {"hub_url": "https://elsewhere.example/", "hub_url_local": "http://there/"}
    found = binder_values(render(at("binderhub.config.BinderHub", config)))["config"]["BinderHub"]
    assert {key: found[key] for key in config} == config


def test_what_the_binder_is_told(local: Rendered) -> None:
    values = binder_values(local)
    assert values["config"]["BinderHub"]["repo_providers"] == {
        "gh": "GitHubRepoProvider",
        "git": "GitRepoProvider",
        "local": "LocalRepoProvider",
    }
    assert values["config"]["BinderHub"]["hub_url_local"] == "http://proxy-public/"
    assert values["registry"]["name"] == f"registry.{NAMESPACE}.svc:5000"
    assert values["global"]["domain"] == "binder.localhost"
    assert set(values) == {
        "config",
        "imageBuilderType",
        "extraConfig",
        "registry",
        "networkPolicy",
        "trustedProxies",
        "global",
    }


def test_null_takes_a_provider_away(render: Any) -> None:
    objects = render(at("binderhub.config.BinderHub.repo_providers.git", None))
    assert set(binder_values(objects)["config"]["BinderHub"]["repo_providers"]) == {"gh", "local"}


def test_staging_lists_no_local_provider(render: Any) -> None:
    objects = render({"global": {"domain": "staging.example.org"}}, environment=False)
    assert set(binder_values(objects)["config"]["BinderHub"]["repo_providers"]) == {"gh", "git"}


PLATFORM = ["hub", "proxy", "binder", "registry", "static"]
PLATFORM += ["binder-nginx-ingress-controller", "binder-nginx-ingress-default-backend"]


def test_a_digest_is_joined_by_at(render: Any) -> None:
    digest = "sha256:" + "a" * 64
    objects = render(at("global.images.platform", {"name": "localhost/binderops/platform", "tag": digest}))
    assert {container(objects, name)["image"] for name in PLATFORM} == {f"localhost/binderops/platform@{digest}"}
    assert {container(objects, name)["imagePullPolicy"] for name in PLATFORM} == {"IfNotPresent"}


@pytest.mark.parametrize(
    ("key", "deployment"),
    [
        ("binderhub.image", "binder"),
        ("binderhub.registryServer.image", "registry"),
        ("binderhub.jupyterhub.hub.image", "hub"),
        ("binderhub.jupyterhub.proxy.chp.image", "proxy"),
        ("nginx-ingress.controller.image", "binder-nginx-ingress-controller"),
        ("nginx-ingress.defaultBackend.image", "binder-nginx-ingress-default-backend"),
        ("static.image", "static"),
    ],
)
def test_a_component_may_have_an_image_of_its_own(render: Any, key: str, deployment: str) -> None:
    image = {"name": "quay.io/x/y", "tag": 1.5, "pullPolicy": "Always", "pullSecrets": ["a", {"name": "b"}]}
    objects = render(at(key, image))
    assert container(objects, deployment)["image"] == "quay.io/x/y:1.5"
    assert container(objects, deployment)["imagePullPolicy"] == "Always"
    pod = objects["Deployment", deployment]["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]


def test_no_image_is_an_error_that_names_the_key(render: Any) -> None:
    with pytest.raises(Exception, match=r"no image: set global.images.platform, or the component's own image.name"):
        render(at("global.images.platform.name", ""))


def test_nothing_runs_as_root_or_privileged(local: Rendered) -> None:
    for name, obj in local.of_kind("Deployment").items():
        pod = obj["spec"]["template"]["spec"]
        assert "initContainers" not in pod, name
        assert not any("hostPath" in volume for volume in pod.get("volumes", [])), name
        for entry in pod["containers"]:
            context = {**pod.get("securityContext", {}), **entry["securityContext"]}
            assert context["runAsNonRoot"] is True, name
            assert context["runAsUser"] >= 1000, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name


def test_only_who_talks_to_the_api_has_a_token(local: Rendered) -> None:
    with_token = {
        name
        for name, obj in local.of_kind("Deployment").items()
        if obj["spec"]["template"]["spec"].get("automountServiceAccountToken") is not False
    }
    assert with_token == {"hub", "binder", "binder-nginx-ingress-controller"}


def test_fixed_tokens_make_renders_alike(render: Any) -> None:
    first, second = render(FIXED_TOKENS), render(FIXED_TOKENS)
    generated = {("Secret", name) for name in ("registry-token", "registry-pull", "binder-local")}
    assert {key for key in first if first[key] != second[key]} == generated


def test_generated_tokens_restart_nothing(render: Any) -> None:
    """Each render without a cluster makes new tokens; if pods' checksums followed, an upgrade would restart them."""
    first, second = render(), render()
    assert secret_text(first, "hub", "hub.services.binder.apiToken") != secret_text(
        second, "hub", "hub.services.binder.apiToken"
    )
    assert first.of_kind("Deployment") == second.of_kind("Deployment")


def test_a_changed_value_restarts_the_hub_but_not_the_proxy(render: Any) -> None:
    first, second = render(), render(at("binderhub.jupyterhub.singleuser.startTimeout", 77))
    changed = {name for name, obj in first.of_kind("Deployment").items() if obj != second["Deployment", name]}
    assert changed == {"hub"}


def test_tokens_have_upstreams_forms(render: Any) -> None:
    objects = render()
    for key, size in (
        ("hub.services.binder.apiToken", 64),
        ("hub.config.JupyterHub.cookie_secret", 64),
        ("hub.config.CryptKeeper.keys", 64),
    ):
        assert len(bytes.fromhex(secret_text(objects, "hub", key))) == size // 2
    token = secret_text(objects, "hub", "hub.config.ConfigurableHTTPProxy.auth_token")
    assert token.isalnum()
    assert len(token) == 64


def test_given_tokens_are_used(local: Rendered) -> None:
    assert secret_text(local, "hub", "hub.config.JupyterHub.cookie_secret") == "0" * 64
    assert secret_text(local, "hub", "hub.config.CryptKeeper.keys") == "1" * 64
    assert secret_text(local, "hub", "hub.services.binder.apiToken") == "2" * 64
    assert secret_text(local, "hub", "hub.config.ConfigurableHTTPProxy.auth_token") == "3" * 64


def test_the_pull_secret_is_for_this_registry(local: Rendered) -> None:
    config = json.loads(secret_text(local, "registry-pull", ".dockerconfigjson"))
    (host,) = config["auths"]
    assert host == f"registry.{NAMESPACE}.svc:5000"
    user, _, password = base64.b64decode(config["auths"][host]["auth"]).decode().partition(":")
    assert (user, len(password)) == ("pull", 48)


@pytest.mark.parametrize("has_its_own", [True, False])
def test_an_operators_registry_is_pulled_from_with_its_password_which_only_the_binder_mounts(
    render: Any, has_its_own: bool
) -> None:
    own = {"url": "https://r.example", "username": "me", "password": "secret"}
    objects = render(at("binderhub.registry", own), at("binderhub.registryServer.enabled", has_its_own))
    expected = {"https://r.example": {"auth": base64.b64encode(b"me:secret").decode()}}
    auths = json.loads(secret_text(objects, "registry-pull", ".dockerconfigjson"))["auths"]
    assert ({name: auth for name, auth in auths.items() if name in expected}, len(auths)) == (expected, 1 + has_its_own)
    assert json.loads(secret_text(objects, "binder-build-docker-config", "config.json"))["auths"] == expected
    holders = {
        (name, volume["secret"]["secretName"])
        for name, obj in objects.of_kind("Deployment").items()
        for volume in obj["spec"]["template"]["spec"].get("volumes", [])
        if "secret" in volume
    }
    pulling = {("binder", "registry-pull")} if has_its_own else set()
    assert {pair for pair in holders if pair[1] in {"registry-pull", "binder-build-docker-config"}} == {
        ("binder", "binder-build-docker-config"),
        *pulling,
    }


def test_proxy_arguments(render: Any) -> None:
    values = merge(
        at("binderhub.jupyterhub.debug.enabled", True),
        at("binderhub.jupyterhub.proxy.chp.extraCommandLineFlags", ["--auto-rewrite", "--x={{ .Release.Name }}"]),
        at("binderhub.jupyterhub.hub.config.JupyterHub.subdomain_host", "https://x"),
    )
    assert container(render(values), "proxy")["command"] == [
        "configurable-http-proxy",
        "--ip=",
        "--api-ip=",
        "--api-port=8001",
        "--port=8000",
        "--default-target=http://hub:$(HUB_SERVICE_PORT)",
        "--error-target=http://hub:$(HUB_SERVICE_PORT)/hub/error",
        "--log-level=debug",
        "--host-routing",
        "--auto-rewrite",
        "--x=binder",
    ]


@pytest.mark.parametrize(
    ("db", "upgrades", "claims"),
    [
        ({}, True, 1),
        ({"type": "sqlite-memory"}, False, 0),
        ({"type": "postgres", "url": "postgresql://x", "password": "p"}, False, 0),
        ({"type": "postgres", "url": "postgresql://x", "upgrade": True}, True, 0),
        ({"upgrade": False}, False, 1),
    ],
)
def test_hub_database(render: Any, db: dict[str, Any], upgrades: bool, claims: int) -> None:
    objects = render(at("binderhub.jupyterhub.hub.db", db))
    assert ("--upgrade-db" in container(objects, "hub")["args"]) is upgrades
    assert len([name for name in objects.of_kind("PersistentVolumeClaim") if name == "hub-db-dir"]) == claims
    if "password" in db:
        assert secret_text(objects, "hub", "hub.db.password") == "p"


@pytest.mark.parametrize(
    "env",
    [{"A": "1"}, {"A": {"value": "1"}}, [{"name": "A", "value": "1"}]],
)
@pytest.mark.parametrize(
    ("key", "deployment"),
    [
        ("binderhub.extraEnv", "binder"),
        ("binderhub.jupyterhub.hub.extraEnv", "hub"),
        ("binderhub.jupyterhub.proxy.chp.extraEnv", "proxy"),
    ],
)
def test_extra_env_in_each_form(render: Any, key: str, deployment: str, env: Any) -> None:
    assert {"name": "A", "value": "1"} in container(render(at(key, env)), deployment)["env"]


def test_extra_files(render: Any) -> None:
    files = {
        "a": {"mountPath": "/etc/a.yaml", "data": {"x": [1]}},
        "b": {"mountPath": "/etc/b", "stringData": "text", "mode": 0o400},
        "c": {"mountPath": "/etc/c.json", "data": {"y": 2}},
        "d": {"mountPath": "/etc/d", "binaryData": base64.b64encode(b"\0\1").decode()},
    }
    for key, deployment, secret in (
        ("binderhub.extraFiles", "binder", "binder-secret"),
        ("binderhub.jupyterhub.hub.extraFiles", "hub", "hub"),
    ):
        objects = render(at(key, files))
        data = objects["Secret", secret]["data"]
        assert yaml.safe_load(base64.b64decode(data["a"])) == {"x": [1]}
        assert base64.b64decode(data["b"]) == b"text"
        assert json.loads(base64.b64decode(data["c"])) == {"y": 2}
        assert base64.b64decode(data["d"]) == b"\0\1"
        mounts = {mount["mountPath"]: mount for mount in container(objects, deployment)["volumeMounts"]}
        assert mounts["/etc/b"]["subPath"] == "b"
        pod = objects["Deployment", deployment]["spec"]["template"]["spec"]
        (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "files")
        assert {"key": "b", "path": "b", "mode": 0o400} in volume["secret"]["items"]


def test_an_own_registry(render: Any) -> None:
    objects = render(at("binderhub.registry", {"url": "https://gcr.io", "password": "key"}))
    config = json.loads(secret_text(objects, "binder-build-docker-config", "config.json"))
    assert base64.b64decode(config["auths"]["https://gcr.io"]["auth"]) == b"_json_key:key"
    without = render(at("binderhub.registry.url", "https://quay.io"))
    assert json.loads(secret_text(without, "binder-build-docker-config", "config.json")) == {"auths": {}}


def test_an_autoscaler_owns_the_number_of_binders(render: Any) -> None:
    assert render(at("binderhub.replicas", 3))["Deployment", "binder"]["spec"]["replicas"] == 3
    scaled = render(at("binderhub.replicas", 3), at("binderhub.hpa.enabled", True))
    assert "replicas" not in scaled["Deployment", "binder"]["spec"]


@pytest.mark.parametrize(
    ("values", "addresses"),
    [
        ({}, ["http://binder/health", "http://proxy-public/hub/health"]),
        (
            merge(
                at("binderhub.config.BinderHub.base_url", "/b/"),
                at("binderhub.jupyterhub", {"fullnameOverride": "x", "hub": {"baseUrl": "/h/"}}),
            ),
            ["http://binder/b/health", "http://x-proxy-public/h/hub/health"],
        ),
    ],
)
def test_apps_are_asked_by_their_services(render: Any, values: dict[str, Any], addresses: list[str]) -> None:
    objects = render(values)
    assert objects["Pod", "binder-test-health"]["spec"]["containers"][0]["args"] == addresses
    inside = binder_values(objects)["config"]["BinderHub"]["hub_url_local"]
    assert addresses[1] == f"{inside}hub/health"
