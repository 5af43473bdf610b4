"""No key is ignored in silence: unknown ones are refused, known ones that nothing honours are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from tests.charts.conftest import FIXED_TOKENS, NAMESPACE, Rendered, at, merge
from tests.charts.keys.page import listed_keys, rows_about
from tests.charts.keys.refused import CHARTS, ENTRIES, PARTS

from binderops.binder import traits

FLAGS = ("enabled", "create", "hostNetwork", "disableHttpPort")
# A chart that is switched off refuses nothing.
ON = merge(at("kube-lego.enabled", True), at("kube-lego.config.LEGO_EMAIL", "admin@example.org"))


@pytest.mark.parametrize(("path", "entry"), ENTRIES, ids=[path for path, _ in ENTRIES])
def test_refused_by_name(render: Any, path: str, entry: dict[str, str]) -> None:
    def refusal(value: Any) -> str | None:
        """The template's refusal; None where the schema found the value to be of a wrong type."""
        with pytest.raises(helm_python.HelmError) as refused:
            render(ON, at(path, value))
        return None if isinstance(refused.value, helm_python.HelmValuesError) else str(refused.value)

    candidates: tuple[Any, ...] = ({"x": "y"}, ["x"], 1)
    said = refusal(True) if path.endswith(FLAGS) else next(filter(None, map(refusal, candidates)), None)
    assert said, "the schema refuses every value of this key: the refusal that says what to do never speaks"
    use = "nothing instead" if entry["use"] == "nothing" else f"use {entry['use']}"
    why = f": {entry['why']}" if "why" in entry else ""
    off = f" (accepted while {entry['key']}.enabled is false)" if path in PARTS else ""
    assert f"  {entry['key']} is refused: {use}{why}{off}\n" in said


@pytest.mark.parametrize(("path", "entry"), ENTRIES, ids=[path for path, _ in ENTRIES])
def test_what_to_use_instead_is_in_force(path: str, entry: dict[str, str]) -> None:
    """Each key that a refusal names is honoured, or in force on a cluster; where there is none, it says why."""
    if entry["use"] == "nothing":
        assert entry["why"]
        return
    prefix = path.removesuffix(entry["key"])
    for key in entry["use"].split(" and "):
        assert in_force(prefix + key) or in_force(key), key


def in_force(key: str) -> bool:
    rows = rows_about(key, listed_keys())
    return bool(rows) and all(row.shows for row in rows)


@pytest.mark.parametrize(
    ("key", "holds"),
    [
        ("binderhub.config.BinderHub.hub_url", True),
        ("binderhub.config.GitHubRepoProvider", True),
        ("binderhub.jupyterhub.hub.config.BinderSpawner.cors_allow_origin", True),
        ("binderhub.jupyterhub.proxy.chp.pdb", True),
        ("binderhub.config.DockerRegistry.url", False),
        ("binderhub.imageCleaner.host.dockerSocketDir", False),
        ("binderhub.jupyterhub.httpRoute.parentRefs", False),
        ("binderhub.nosuch", False),
    ],
)
def test_a_key_that_is_refused_or_without_effect_is_not_in_force(key: str, holds: bool) -> None:
    assert in_force(key) is holds


def test_what_asks_for_nothing_passes(render: Any) -> None:
    """A values file that names a component only to switch it off loads."""
    soft = [path for path, entry in ENTRIES if entry.get("when") != "set"]
    assert len(soft) > 30
    assert render(*(at(path, None) for path in soft))
    assert render(*(at(path, False) for path in soft if path.endswith(FLAGS)))


OWN = {"own": {"a": "b"}}


@pytest.mark.parametrize(
    "value", [OWN, {"enabled": True}, {**OWN, "enabled": True}, {**OWN, "enabled": None}, {**OWN, "enabled": "no"}]
)
def test_parts_that_are_not_here_are_refused_unless_they_are_off(render: Any, value: Any) -> None:
    """In 2018 some were unconditional: whoever sets something of theirs expects them to run."""
    with pytest.raises(helm_python.HelmRenderError) as refused:
        render(*(at(path, value) for path in PARTS if not path.startswith("binderhub.")))
    assert str(refused.value).count("is refused: ") == len([path for path in PARTS if "." not in path])
    for path in PARTS:
        if "." in path:
            with pytest.raises(helm_python.HelmRenderError, match=f"{path.partition('jupyterhub.')[2]} is refused: "):
                render(at(path, value))


@pytest.mark.parametrize("value", [{}, None, {"enabled": False}, {"enabled": None}, {**OWN, "enabled": False}])
def test_parts_that_are_off_keep_their_values(render: Any, value: Any) -> None:
    assert render(*(at(path, value) for path in PARTS))


def test_the_parts_are_all_that_have_a_switch() -> None:
    assert {"grafana", "prometheus", "binderhub.jupyterhub.scheduling.userScheduler"} <= set(PARTS)
    assert len(PARTS) == 14


# What upstream's own nginx-ingress chart has where nothing is set: operators start from such a file.
UNSET: dict[str, Any] = {
    "controller": {
        "headers": {},
        "extraArgs": {},
        "extraEnvs": {},
        "extraContainers": {},
        "extraVolumes": {},
        "extraVolumeMounts": {},
        "customTemplate": {"configMapName": "", "configMapKey": ""},
        "publishService": {"enabled": False, "pathOverride": ""},
        "autoscaling": {"enabled": False},
        "stats": {"enabled": False, "service": {"clusterIP": "", "servicePort": 18080}},
        "daemonset": {"useHostPort": False},
        "livenessProbe": {"port": 10254},
        "service": {"clusterIP": "", "healthCheckNodePort": 0, "nodePorts": {"http": "", "https": ""}},
    },
    "defaultBackend": {"extraArgs": {}},
    "tcp": {},
    "udp": {},
}


def test_what_upstream_leaves_unset_changes_nothing(render: Any, local: Rendered) -> None:
    name = ("Deployment", "binder-nginx-ingress-controller")
    rendered = render(FIXED_TOKENS, {"nginx-ingress": UNSET})
    for key in (name, ("Service", name[1]), ("Deployment", "binder-nginx-ingress-default-backend")):
        assert rendered[key] == local[key]
    for wrong in ({"service": {"nodePorts": {"http": "80"}}}, {"extraEnvs": {"A": "b"}}):
        with pytest.raises(helm_python.HelmValuesError):
            render({"nginx-ingress": {"controller": wrong}})


@pytest.mark.parametrize(
    "path",
    [
        "unknown",
        "global.publcPort",
        "redirector.enable",
        "static.ingress.host",
        "binderhub.unknown",
        "binderhub.service.unknown",
        "binderhub.ingress.host",
        "binderhub.registry.passwort",
        "binderhub.networkPolicy.egres",
        "binderhub.config.BinderHb",
        "binderhub.config.BinderHub.banner_mesage",
        "binderhub.config.GitRepoProvider.banned_spec",
        "binderhub.jupyterhub.unknown",
        "binderhub.jupyterhub.hub.extraConfg",
        "binderhub.jupyterhub.singleuser.memory.limits",
        "binderhub.jupyterhub.proxy.chp.networkPolicy.egressAllowRules.privateIps",
        "binderhub.jupyterhub.scheduling.podPriority.enable",
        "nginx-ingress.unknown",
        "nginx-ingress.controller.replicas",
    ],
)
def test_unknown_key(render: Any, path: str) -> None:
    with pytest.raises(
        helm_python.HelmValuesError, match=rf"additional properties '{path.rpartition('.')[2]}' not allowed"
    ):
        render(at(path, "x"))


@pytest.mark.parametrize("builder", ["host", "dind", "pink"])
def test_builders_that_share_an_engine(render: Any, builder: str) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=f"imageBuilderType {builder} is refused"):
        render(at("binderhub.imageBuilderType", builder))


def test_a_controller_is_a_deployment(render: Any) -> None:
    assert render(at("nginx-ingress.controller.kind", "Deployment"))
    with pytest.raises(helm_python.HelmRenderError, match=r"controller\.kind DaemonSet is refused"):
        render(at("nginx-ingress.controller.kind", "DaemonSet"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("config.LEGO_EMAIL", "", "config.LEGO_EMAIL is missing"),
        ("config.LEGO_URL", "http://ca.example.org/directory", "config.LEGO_URL is refused: it is not the https"),
        ("config.LEGO_URL", "https://acme-v01.api.letsencrypt.org/directory", "ACME v1 was shut down"),
        ("defaultIssuer", "prod", "defaultIssuer prod is refused: issuers declares"),
        ("issuers", {"x": {"type": "vault"}}, "issuers"),
        ("issuers", {"x": {"type": "acme", "sever": "https://a"}}, "sever"),
    ],
)
def test_kube_lego_refuses_what_cannot_work(render: Any, key: str, value: Any, message: str) -> None:
    with pytest.raises((helm_python.HelmRenderError, helm_python.HelmValuesError), match=message):
        render(ON, at(f"kube-lego.{key}", value))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            at("binderhub.jupyterhub.singleuser.networkPolicy.enabled", False),
            "blockWithIptables is kept by the NetworkPolicy singleuser",
        ),
        (
            at("binderhub.jupyterhub.singleuser.networkPolicy.egressAllowRules.cloudMetadataServer", True),
            "contradict each other",
        ),
    ],
)
def test_metadata_server_stays_shut(render: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=message):
        render(values)
    assert render(merge(values, at("binderhub.jupyterhub.singleuser.cloudMetadata.blockWithIptables", False)))


@pytest.mark.parametrize("service", ["binderhub", "binderhub.jupyterhub.hub", "binderhub.jupyterhub.proxy"])
def test_a_service_of_ours_is_not_another_hosts_name(render: Any, service: str) -> None:
    with pytest.raises(helm_python.HelmValuesError, match="'ClusterIP', 'NodePort', 'LoadBalancer'"):
        render(at(f"{service}.service.type", "ExternalName"))


@pytest.mark.parametrize("key", ["KubernetesBuildExecutor.namespace", "BinderHub.build_namespace"])
def test_builds_run_where_their_policies_are(render: Any, key: str) -> None:
    (name,) = render(at(f"binderhub.config.{key}", NAMESPACE)).of_kind("Role").keys() & {"binderhub"}
    assert name
    with pytest.raises(helm_python.HelmRenderError, match=rf"config\.{key} elsewhere is refused: use nothing instead"):
        render(at(f"binderhub.config.{key}", "elsewhere"))


def test_a_claim_for_all_is_named(render: Any) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=r"singleuser\.storage\.static\.pvcName is missing"):
        render(at("binderhub.jupyterhub.singleuser.storage.type", "static"))


def test_one_refusal_helper() -> None:
    """Charts stand alone, so each has the helper: the same one."""
    helpers = {
        (chart / "templates/_refuse.tpl").read_text().replace(f"{_name(chart)}.refuse", "CHART.refuse")
        for chart in CHARTS
    }
    assert len(helpers) == 1


def _name(chart: Path) -> str:
    name: str = yaml.safe_load((chart / "Chart.yaml").read_text())["name"]
    return name


def test_a_provider_that_does_not_exist(render: Any) -> None:
    with pytest.raises(helm_python.HelmError, match=r"repo_providers\.zenodo is refused: ZenodoProvider is not yet"):
        render(at("binderhub.config.BinderHub.repo_providers.zenodo", "ZenodoProvider"))
    assert render(at("binderhub.config.BinderHub.repo_providers", {name: f"x.y.{name}" for name in traits.PROVIDERS}))
