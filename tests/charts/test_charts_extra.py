"""Extra software of the meta chart: files for every user's server, and values of an operator's own templates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from tests.charts.conftest import at, merge

MOUNT = at(
    "binderhub.jupyterhub.singleuser.storage",
    {
        "extraVolumes": [{"name": "etc-jupyter", "configMap": {"name": "user-etc-jupyter"}}],
        "extraVolumeMounts": [{"name": "etc-jupyter", "mountPath": "/etc/jupyter"}],
    },
)


def test_maps_become_json_and_text_stays(render: Any) -> None:
    culling = {"MappingKernelManager": {"cull_idle_timeout": 300}}
    files = {"jupyter_server_config.json": culling, "note.txt": "é: {{ x }}\n", "gone.json": None}
    made = render(MOUNT, at("etcJupyter", files))["ConfigMap", "user-etc-jupyter"]["data"]
    assert set(made) == {"jupyter_server_config.json", "note.txt"}
    assert json.loads(made["jupyter_server_config.json"]) == culling
    assert made["note.txt"] == "é: {{ x }}\n"


def test_nothing_is_made_by_default(render: Any) -> None:
    assert not [name for name in render().of_kind("ConfigMap") if "etc-jupyter" in name]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (at("etcJupyter", {"a.json": {}}), "no server would see these files"),
        (MOUNT, "no server would start"),
        (merge(MOUNT, at("etcJupyter", {"a/b.json": {}})), "a/b.json"),
    ],
    ids=["files without a mount", "a mount without files", "a name with a slash"],
)
def test_one_without_the_other_is_refused(render: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises(helm_python.HelmError, match=words):
        render(values)


@pytest.mark.parametrize(
    ("extra", "image"),
    [
        ({}, "localhost/binderops/watch:latest"),
        ({"image": {"name": "example.org/watch", "tag": "sha256:1"}}, "example.org/watch@sha256:1"),
    ],
    ids=["before the first build", "locked"],
)
def test_a_template_of_the_operators_own(
    tree: Path, local_values: dict[str, Any], tmp_path: Path, extra: dict[str, Any], image: str
) -> None:
    chart = tmp_path / "mybinder"
    shutil.copytree(tree / "mybinder", chart)
    (chart / "templates/watch").mkdir()
    (chart / "templates/watch/pod.yaml").write_text(
        'image: {{ include "mybinder.image" (list . .Values.extra.watch.image "watch") }}\n'
    )
    with helm_python.Chart.load(chart) as loaded:
        files = loaded.render(merge(local_values, at("extra.watch", extra)), name="binder", namespace="binder")
    assert yaml.safe_load(files["mybinder/templates/watch/pod.yaml"]) == {"image": image}
