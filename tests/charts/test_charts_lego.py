"""The kube-lego chart: nothing while off; the keys of 2018; issuers; rights in one namespace or in all."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.charts.conftest import RELEASE, ROOT, Render, at, merge

from binderops.lego.settings import read_issuers

ON = merge(at("kube-lego.enabled", True), at("kube-lego.config.LEGO_EMAIL", "admin@example.org"))
NAME = "binder-kube-lego"


def test_off_it_renders_nothing(render: Render) -> None:
    assert [key for key in render({}) if "lego" in key[1]] == []


def test_keys_of_2018(render: Render) -> None:
    """As mybinder.org-deploy 2018 had them."""
    url = "https://acme-v02.api.letsencrypt.org/directory"
    objects = render(merge(ON, at("kube-lego.config.LEGO_URL", url), at("kube-lego.replicaCount", 2)))
    deployment = objects["Deployment", NAME]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["LEGO_EMAIL"] == "admin@example.org"
    assert environment["LEGO_URL"] == url
    assert environment["LEGO_PORT"] == "8080"
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == NAME
    assert ("ServiceAccount", NAME) in objects and ("Role", NAME) in objects
    assert container["args"][:3] == ["python", "-m", "binderops.lego"]


@pytest.mark.parametrize("one", [True, False])
def test_rights_in_one_namespace_or_in_all(render: Render, one: bool) -> None:
    objects = render(merge(ON, at("kube-lego.scope.enabled", one)))
    (container,) = objects["Deployment", NAME]["spec"]["template"]["spec"]["containers"]
    assert ("--watch-namespace" in container["args"]) is one
    assert (("ClusterRole", NAME) in objects) is not one


def test_an_account_that_is_there(render: Render) -> None:
    objects = render(merge(ON, at("kube-lego.rbac", {"create": False, "serviceAccountName": "certificates"})))
    assert objects["Deployment", NAME]["spec"]["template"]["spec"]["serviceAccountName"] == "certificates"
    assert ("Role", NAME) not in objects


def test_issuers_arrive_as_the_program_reads_them(render: Render, tmp_path_factory: pytest.TempPathFactory) -> None:
    issuers = {
        "prod": {
            "type": "acme",
            "server": "https://acme-v02.api.letsencrypt.org/directory",
            "email": "a@example.org",
            "externalAccount": {"keyId": "k", "secretName": "s"},
        },
        "laptop": {"type": "ca", "domains": ["localhost"]},
        "gone": None,
    }
    objects = render(merge(ON, at("kube-lego.issuers", issuers), at("kube-lego.defaultIssuer", "laptop")))
    text = objects["ConfigMap", NAME]["data"]["issuers.yaml"]
    assert set(yaml.safe_load(text)) == {"prod", "laptop"}
    file = tmp_path_factory.mktemp("issuers") / "issuers.yaml"
    file.write_text(text)
    read = read_issuers({"LEGO_EMAIL": "admin@example.org"}, file)
    assert read["laptop"].domains == ("localhost",)
    assert read["prod"].external_account is not None and read["prod"].external_account.key_id == "k"
    (container,) = objects["Deployment", NAME]["spec"]["template"]["spec"]["containers"]
    assert container["args"][-4:-2] == ["--default-issuer", "laptop"]


def test_the_machine_s_own_ca_is_trusted(render: Render) -> None:
    objects = render(merge(ON, at("global.machine.caCertificates", "-----BEGIN CERTIFICATE-----")))
    (container,) = objects["Deployment", NAME]["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["MACHINE_AUTHORITIES"] == "/etc/kube-lego/ca.crt"
    assert objects["ConfigMap", NAME]["data"]["ca.crt"].startswith("-----BEGIN")


def layer_of(environment: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f"config/{environment}.yaml").read_text())
    return found


@pytest.mark.parametrize(("environment", "port"), [("staging", 9443), ("prod", 11443)])
def test_staging_and_prod_serve_each_host_over_tls(render: Render, environment: str, port: int) -> None:
    objects = render(layer_of(environment))
    domain = f"{environment}.localhost"
    secrets = {}
    for ingress in objects.of_kind("Ingress").values():
        assert ingress["metadata"]["annotations"]["kubernetes.io/tls-acme"] == "true"
        (block,) = ingress["spec"]["tls"]
        assert block["hosts"] == [rule["host"] for rule in ingress["spec"]["rules"]]
        secrets[block["secretName"]] = block["hosts"]
    assert secrets == {
        f"kubelego-tls-binder-{RELEASE}": [domain],
        "kubelego-tls-hub": [f"hub.{domain}"],
        "kubelego-tls-redirector": [f"old.{domain}"],
        "kubelego-tls-static": [f"static.{domain}"],
    }
    (container,) = objects["Deployment", NAME]["spec"]["template"]["spec"]["containers"]
    assert container["args"][container["args"].index("--default-issuer") + 1] == "laptop"
    ports = objects["Service", f"{RELEASE}-nginx-ingress-controller"]["spec"]["ports"]
    assert {entry["name"]: entry["port"] for entry in ports}["https"] == port
    assert f"https://{domain}:{port}" in objects["ConfigMap", "redirector-config"]["data"]["nginx.conf"]


def test_staging_and_prod_differ_in_a_domain_and_ports() -> None:
    staging, prod = layer_of("staging"), layer_of("prod")
    assert staging.pop("global").keys() == prod.pop("global").keys() == {"domain", "publicPort", "publicTlsPort"}
    assert staging == prod
    assert leaves(layer_of("staging")) <= 15


def leaves(value: Any) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 1 if below is None else sum(map(leaves, below))
