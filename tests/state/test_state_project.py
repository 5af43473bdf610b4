"""binderops.yaml: what is right, and the answer to what is wrong."""

from __future__ import annotations

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
    assert {"target", "namespace", "release", "layers", "proof", "timeout"} == set(properties)
