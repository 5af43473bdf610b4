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


STORAGE = "binderhub.jupyterhub.singleuser.storage"
WITHOUT_MOUNTS = merge(MOUNT, at(f"{STORAGE}.extraVolumeMounts", []))
MOUNT_OF_ANOTHER = merge(MOUNT, at(f"{STORAGE}.extraVolumeMounts", [{"name": "other", "mountPath": "/etc/jupyter"}]))
MOUNT_OF_TEMPLATES = at(
    STORAGE,
    {
        "extraVolumes": [
            {"name": "etc-jupyter", "configMap": {"name": "user-etc-jupyter"}},
            {"name": "templates", "configMap": {"name": "user-etc-jupyter-templates"}},
        ],
        "extraVolumeMounts": [
            {"name": "etc-jupyter", "mountPath": "/etc/jupyter"},
            {"name": "templates", "mountPath": "/etc/jupyter/templates"},
        ],
    },
)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (at("etcJupyter", {"a.json": {}}), "no server would see these files"),
        (merge(WITHOUT_MOUNTS, at("etcJupyter", {"a.json": {}})), "no server would see these files"),
        (merge(MOUNT_OF_ANOTHER, at("etcJupyter", {"a.json": {}})), "no server would see these files"),
        (MOUNT, "no server would start"),
        (WITHOUT_MOUNTS, "no server would start"),
        (merge(MOUNT_OF_TEMPLATES, at("etcJupyter", {"a.json": {}})), "user-etc-jupyter-templates is made only where"),
        (merge(MOUNT, at("etcJupyter", {"a/b.json": {}})), "a/b.json"),
    ],
    ids=[
        "files without a volume",
        "files without a mount",
        "a mount of something else",
        "a mount without files",
        "a volume without files",
        "a mount of templates without one",
        "a name with a slash",
    ],
)
def test_one_without_the_other_is_refused(render: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises(helm_python.HelmError, match=words):
        render(values)


@pytest.fixture
def own(tree: Path, local_values: dict[str, Any], tmp_path: Path) -> Any:
    """own(files, values...) → the ConfigMaps of a copy of the meta chart with files of an operator's own in it."""

    def run(files: dict[str, str], *layers: dict[str, Any]) -> dict[str, Any]:
        chart = tmp_path / "mybinder"
        shutil.copytree(tree / "mybinder", chart, dirs_exist_ok=True)
        for name, text in files.items():
            (chart / name).parent.mkdir(parents=True, exist_ok=True)
            (chart / name).write_text(text)
        with helm_python.Chart.load(chart) as loaded:
            rendered = loaded.render(merge(local_values, *layers), name="binder", namespace="binder")
        return {
            made["metadata"]["name"]: made["data"]
            for made in yaml.safe_load_all(rendered["mybinder/templates/etc-jupyter/configmaps.yaml"])
        }

    return run


def test_files_of_a_folder_and_templates_become_configmaps(own: Any) -> None:
    page = "{% extends 'templates/page.html' %}\n{{ x }}\n"
    files = {
        "files/etc/jupyter/note.txt": "é: {{ x }}\n",
        "files/etc/jupyter/both.json": "of the folder",
        "files/etc/jupyter/templates/page.html": page,
    }
    made = own(files, MOUNT_OF_TEMPLATES, at("etcJupyter", {"both.json": "of the values"}))
    assert made == {
        "user-etc-jupyter": {"note.txt": "é: {{ x }}\n", "both.json": "of the values"},
        "user-etc-jupyter-templates": {"page.html": page},
    }


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("note.txt", {}, "mount the ConfigMap user-etc-jupyter in"),
        ("note.txt", WITHOUT_MOUNTS, "mount the ConfigMap user-etc-jupyter in"),
        ("templates/page.html", {}, "mount the ConfigMap user-etc-jupyter-templates in"),
    ],
)
def test_files_of_a_folder_without_their_mount_are_refused(
    own: Any, file: str, values: dict[str, Any], words: str
) -> None:
    with pytest.raises(helm_python.HelmError, match=words):
        own({f"files/etc/jupyter/{file}": "x"}, values)


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
