"""Binder and hub below paths of their hosts: everybody is told the same path, with a slash at each end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.charts.conftest import at
from tests.charts.keys.rows import Row
from tests.charts.keys.world import World

from binderops.state.public import PublicSettings

BASE, HUB = "binderhub.config.BinderHub.base_url", "binderhub.jupyterhub.hub.baseUrl"
_POD = "spec.template.spec.containers"

# Who is told of it: where that stands, and what stands there.
TOLD = {
    ("Deployment binder", f"{_POD}.binder.readinessProbe.httpGet.path"): "/b/versions",
    ("Deployment binder", f"{_POD}.binder.livenessProbe.httpGet.path"): "/b/versions",
    ("Binder", "binder.base_url"): "/b/",
    ("Binder", "hub_url"): "http://hub.binder.localhost:8080/h/",
    ("Binder", "hub_api_url"): "http://proxy-public/h/hub/api/",
    ("JupyterHub", "base_url"): "/h/",
    ("Culler", "url"): "http://localhost:8081/h/hub/api",
    ("Deployment hub", f"{_POD}.hub.readinessProbe.httpGet.path"): "/h/hub/health",
    ("Service hub", "metadata.annotations.prometheus.io/path"): "/h/hub/metrics",
    ("Ingress jupyterhub", "spec.rules.0.http.paths.0.path"): "/h/",
    # Without a path: the binder's home page is at its host's top, too.
    ("Ingress binderhub", "spec.rules.0.http.paths.0.path"): "/",
    ("Pod binder-test-health", "spec.containers.0.args"): [
        "http://binder/b/health",
        "http://proxy-public/h/hub/health",
    ],
}


@pytest.mark.parametrize("shape", ["{}", "/{}", "{}/", "/{}/"])
def test_everybody_is_told_the_same_path(render: Any, tmp_path: Path, shape: str) -> None:
    world = World(render(at(BASE, shape.format("b")), at(HUB, shape.format("h"))), tmp_path / "hub")
    assert {place: world.find(Row("", None, *place)) for place in TOLD} == TOLD
    command = world.find(Row("", None, "Deployment proxy", f"{_POD}.chp.command"))
    assert "--error-target=http://hub:$(HUB_SERVICE_PORT)/h/hub/error" in command
    values = {"global": {"domain": "binder.localhost", "publicPort": 8080}, **at(BASE, shape.format("b"))}
    assert PublicSettings.of(values).url == "http://binder.localhost:8080/b/"


@pytest.mark.parametrize("nothing", ["/", "", None])
def test_no_path(render: Any, tmp_path: Path, nothing: str | None) -> None:
    world = World(render(at(BASE, nothing), at(HUB, nothing)), tmp_path / "hub")
    told = json.loads(json.dumps(list(TOLD.values())).replace("/b/", "/").replace("/h/", "/"))
    assert [world.find(Row("", None, *place)) for place in TOLD] == told


def test_an_address_that_is_given_stays(render: Any, tmp_path: Path) -> None:
    given = {"hub_url": "https://one.example/x/", "hub_url_local": "http://y/z/"}
    world = World(render(at(HUB, "/h/"), at("binderhub.config.BinderHub", given)), tmp_path / "hub")
    assert world.find(Row("", None, "Binder", "hub_url")) == given["hub_url"]
    assert world.find(Row("", None, "Binder", "hub_api_url")) == "http://y/z/hub/api/"
