"""binderops.yaml: what is right, and the answer to what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from binderops.errors import UsageError, ValuesError
from binderops.state.project import find_root, json_schema, load_project

GOOD = """\
chart: mybinder
environments:
  local:
    target:
      node: {name: local, apiPort: 6443}
    layers: [config/local.yaml]
"""


def write(folder: Path, text: str) -> Path:
    (folder / "binderops.yaml").write_text(text)
    return folder


def test_a_small_file_is_enough(tmp_path: Path) -> None:
    project = load_project(write(tmp_path, GOOD))
    environment = project.environment("local")
    assert environment.target.node is not None
    assert (environment.target.node.api_port, environment.namespace, environment.release) == (
        6443,
        "binder",
        "mybinder",
    )


@pytest.mark.parametrize(
    ("old", "new", "where", "hint"),
    [
        ("layers:", "layer:", "binderops.yaml:6", "did you mean 'layers'?"),
        ("apiPort: 6443", "apiPort: 99999", "binderops.yaml:5", None),
        ("apiPort: 6443", "apiport: 6443", "binderops.yaml:5", "did you mean 'apiPort'?"),
        ("name: local,", "name: much-too-long,", "binderops.yaml:5", None),
        ("      node: {name: local, apiPort: 6443}", "      {}", "binderops.yaml:4", None),
        ("chart: mybinder", "chrt: mybinder", "binderops.yaml:1", "did you mean 'chart'?"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_the_nearest_key(
    tmp_path: Path, old: str, new: str, where: str, hint: str | None
) -> None:
    with pytest.raises(ValuesError) as caught:
        load_project(write(tmp_path, GOOD.replace(old, new)))
    assert caught.value.where == where
    assert caught.value.hint == hint


def test_an_unknown_environment_names_the_nearest(tmp_path: Path) -> None:
    project = load_project(write(tmp_path, GOOD))
    with pytest.raises(UsageError, match="did you mean 'local'"):
        project.environment("locl")


def test_the_repository_is_found_from_below(tmp_path: Path) -> None:
    below = write(tmp_path, GOOD) / "config" / "deep"
    below.mkdir(parents=True)
    assert find_root(below) == tmp_path
    with pytest.raises(UsageError, match=r"no binderops\.yaml here or above"):
        find_root(Path("/"))


def test_the_schema_names_every_key_of_an_environment() -> None:
    properties = json_schema()["$defs"]["Environment"]["properties"]
    assert set(properties) == {
        *("target", "namespace", "release", "layers", "before", "promotesTo", "kubernetesVersion", "proof", "timeout")
    }


TWO = """\
environments:
  staging:
    target: {node: {name: stg, apiPort: 6444}}
    promotesTo: [prod]
  prod:
    target: {node: {name: prd, apiPort: 6445}}
"""


def test_environments_keep_the_files_order_and_know_their_promoters(tmp_path: Path) -> None:
    project = load_project(write(tmp_path, TWO))
    assert list(project.environments) == ["staging", "prod"]
    assert (project.promoters_of("prod"), project.promoters_of("staging")) == (["staging"], [])


@pytest.mark.parametrize(
    ("old", "new", "words", "where", "hint"),
    [
        ("[prod]", "[prd]", "there is no environment 'prd'", "binderops.yaml:4", "did you mean 'prod'?"),
        ("[prod]", "[staging]", "would wait for its own proof", "binderops.yaml:4", None),
        ("6445}}", "6445}}\n    promotesTo: [staging]", "would wait for its own", "binderops.yaml:4", None),
        ("name: prd", "name: stg", "stg is staging's already", "binderops.yaml:6", None),
        ("apiPort: 6445", "apiPort: 6444", "6444 is staging's already", "binderops.yaml:6", "6445 is free here"),
        ("promotesTo: [prod]", "promoteTo: [prod]", "Extra inputs", "binderops.yaml:4", "did you mean 'promotesTo'?"),
        ("promotesTo: [prod]", "layers: [../x.yaml]", "without ..", "binderops.yaml:4", None),
        ("promotesTo: [prod]", "kubernetesVersion: latest", "should match", "binderops.yaml:4", None),
        ("promotesTo: [prod]", "target2: {}", "Extra inputs", "binderops.yaml:4", "did you mean 'target'?"),
        (
            TWO.partition("environments:\n")[2],
            "  a: {target: {cluster: {context: c}}}\n  b: {target: {cluster: {context: c}}}\n",
            "binder of that cluster is a's already",
            "binderops.yaml:3",
            "one Binder a namespace",
        ),
        (
            "promotesTo: [prod]",
            "before: [{release: a, namespace: b, chrt: c}]",
            "before.0.chart: Field required",
            "binderops.yaml:4",
            None,
        ),
    ],
)
def test_mistakes_between_environments_are_told(
    tmp_path: Path, old: str, new: str, words: str, where: str, hint: str | None
) -> None:
    with pytest.raises(ValuesError, match=re.escape(words)) as caught:
        load_project(write(tmp_path, TWO.replace(old, new)))
    assert caught.value.where == where
    if hint is not None:
        assert caught.value.hint == hint


def test_a_cluster_names_a_context_or_a_kubeconfig(tmp_path: Path) -> None:
    for text, fits in (("{context: c}", True), ("{kubeconfig: secret/k.yaml}", True), ("{}", False)):
        target = TWO.replace("target: {node: {name: prd, apiPort: 6445}}", f"target: {{cluster: {text}}}")
        root = write(tmp_path, target)
        if fits:
            assert load_project(root).environment("prod").target.cluster is not None
        else:
            with pytest.raises(ValuesError, match="name a context, a kubeconfig, or both"):
                load_project(root)
