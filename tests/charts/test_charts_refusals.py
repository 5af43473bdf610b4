"""No key is ignored in silence: unknown ones are refused, known ones that nothing honours are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from tests.charts.conftest import ROOT, at, merge

# Where each chart's values stand below the meta chart's.
CHARTS = {
    ROOT / "mybinder": "",
    ROOT / "charts/binderhub": "binderhub.",
    ROOT / "charts/binderhub/charts/jupyterhub": "binderhub.jupyterhub.",
    ROOT / "charts/nginx-ingress": "nginx-ingress.",
}
ENTRIES = [
    (prefix + entry["key"], entry)
    for chart, prefix in CHARTS.items()
    for entry in yaml.safe_load((chart / "refused.yaml").read_text())["keys"]
]


@pytest.mark.parametrize(("path", "entry"), ENTRIES, ids=[path for path, _ in ENTRIES])
def test_refused_by_name(render: Any, path: str, entry: dict[str, str]) -> None:
    for value in (True, {"x": "y"}, ["x"], "x"):
        with pytest.raises((helm_python.HelmRenderError, helm_python.HelmValuesError)) as refusal:
            render(at(path, value))
        if isinstance(refusal.value, helm_python.HelmRenderError):
            assert f"{entry['key']} is refused: " in str(refusal.value)
            assert (entry.get("use") or entry.get("why") or "") in str(refusal.value)
            return
    pytest.fail("the schema refuses every value of this key: the refusal that says what to do never speaks")


@pytest.mark.parametrize(
    ("path", "entry"), [case for case in ENTRIES if case[1].get("when") != "set"], ids=lambda case: str(case)[:60]
)
def test_what_asks_for_nothing_passes(render: Any, path: str, entry: dict[str, str]) -> None:
    assert render(at(path, None))
    for value in (False, {}, [], 0):
        try:
            render(at(path, value))
        except helm_python.HelmValuesError:  # not of the key's type
            continue
        return
    pytest.fail(f"{entry['key']}: no empty value passes")


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


def test_kube_lego_is_refused_while_it_is_not_here(render: Any) -> None:
    with pytest.raises(helm_python.HelmRenderError, match="chart kube-lego: enabled is refused"):
        render(at("kube-lego.enabled", True))


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
