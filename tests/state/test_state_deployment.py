"""The state of an environment, from files alone."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from binderops.errors import ChartError, ValuesError
from binderops.state.chart import pack_chart
from binderops.state.deployment import Deployment, load_deployment
from binderops.state.project import load_project

REPOSITORY = Path(__file__).parents[2]


def small_repository(folder: Path) -> Path:
    """A repository with a chart of one ConfigMap and a dependency that is maintained beside it."""
    files = {
        "binderops.yaml": "chart: meta\nenvironments:\n  one:\n"
        "    target: {node: {name: one}}\n    layers: [config/one.yaml]\n",
        "config/one.yaml": "global:\n  domain: one.localhost\n  publicPort: 8080\ntext: from the layer\n",
        "meta/Chart.yaml": "apiVersion: v2\nname: meta\nversion: 1.0.0\ndependencies:\n"
        "  - {name: sub, version: 2.0.0, repository: file://../charts/sub}\n",
        "meta/values.yaml": "text: default\nsub: {word: hello}\n",
        "meta/templates/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
        "data: {text: {{ .Values.text | quote }}}\n",
        "charts/sub/Chart.yaml": "apiVersion: v2\nname: sub\nversion: 2.0.0\n",
        "charts/sub/values.yaml": "word: none\n",
        "charts/sub/templates/b.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"
        "data: {word: {{ .Values.word | quote }}, domain: {{ .Values.global.domain | quote }}}\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def load(root: Path, *generated: Path) -> Deployment:
    return load_deployment(root, load_project(root), "one", generated=generated)


def test_chart_and_dependency_render_with_the_layers(tmp_path: Path) -> None:
    deployment = load(small_repository(tmp_path))
    data = {found["metadata"]["name"]: found["data"] for found in deployment.objects}
    assert data == {"a": {"text": "from the layer"}, "b": {"word": "hello", "domain": "one.localhost"}}
    assert deployment.public.url == "http://one.localhost:8080/"


def test_a_changed_dependency_is_seen_at_once_and_changes_the_digest(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    before = load(root).digest
    assert load(root).digest == before
    (root / "charts/sub/values.yaml").write_text("word: none\nmore: 1\n")
    assert load(root).digest != before


def test_the_same_files_give_the_same_digest_elsewhere(tmp_path: Path) -> None:
    first, second = small_repository(tmp_path / "first"), small_repository(tmp_path / "second")
    assert load(first).digest == load(second).digest


def test_generated_layers_stand_below_those_of_people(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    generated = tmp_path / "generated.yaml"
    generated.write_text("text: found out\nglobal: {machine: {x: 1}}\n")
    deployment = load(root, generated)
    assert deployment.computed["text"] == "from the layer"
    assert deployment.computed["global"]["machine"] == {"x": 1}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("version: 2.0.0,", "version: ^2.0.0,", "not pinned exactly"),
        ("version: 2.0.0,", "version: 2.0.1,", "is 2.0.0, but 2.0.1 is pinned"),
        ("file://../charts/sub", "file://../charts/none", "is missing"),
        ("file://../charts/sub", "file://../../..", "outside this repository"),
        ("file://../charts/sub", "https://charts.example.org", "is missing"),
    ],
)
def test_a_dependency_that_cannot_be_taken_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    root = small_repository(tmp_path)
    chart = root / "meta/Chart.yaml"
    chart.write_text(chart.read_text().replace(old, new))
    with pytest.raises(ChartError, match=words):
        pack_chart(root, "meta")


def test_a_template_error_names_the_template(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    (root / "meta/templates/bad.yaml").write_text("{{ .Values.none.such }}\n")
    with pytest.raises(ChartError, match=r"bad\.yaml"):
        _ = load(root).objects
    (root / "meta/templates/bad.yaml").write_text("a: [1\n")
    with pytest.raises(ChartError, match=r"bad\.yaml renders to what is not YAML"):
        _ = load(root).objects


@pytest.mark.parametrize(
    ("file", "old", "new", "key", "where", "hint"),
    [
        ("config/one.yaml", "text:", "txt:", "txt", "config/one.yaml:4", "did you mean 'text'?"),
        ("config/one.yaml", "text: from the layer", "text: [1]", "text", "config/one.yaml:4", None),
        ("meta/values.yaml", "word", "wrod", "sub.wrod", "meta/values.yaml:2", "did you mean 'word'?"),
        ("config/one.yaml", "text:", "sub: {list: [a, 1]}\ntext:", "sub.list.1", "config/one.yaml:4", None),
    ],
)
def test_a_value_that_the_schema_refuses_is_told_with_its_line_and_the_nearest_key(
    tmp_path: Path, file: str, old: str, new: str, key: str, where: str, hint: str | None
) -> None:
    root = small_repository(tmp_path)
    top = '"global": {}, "sub": {}, "text": {"type": "string"}'
    (root / "meta/values.schema.json").write_text(f'{{"additionalProperties": false, "properties": {{{top}}}}}')
    sub = '"global": {}, "word": {}, "list": {"items": {"type": "string"}}'
    (root / "charts/sub/values.schema.json").write_text(f'{{"additionalProperties": false, "properties": {{{sub}}}}}')
    assert load(root).objects
    (root / file).write_text((root / file).read_text().replace(old, new))
    with pytest.raises(ChartError) as caught:
        _ = load(root).objects
    assert caught.value.what == f"{key}: the values do not fit the chart"
    assert (caught.value.where, caught.value.hint) == (where, hint or "mend the keys that are named")


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("switch", ["condition: subEnabled", "tags: [extra]"])
def test_a_dependency_that_is_off_refuses_what_it_does_not_know(tmp_path: Path, switch: str, archived: bool) -> None:
    root = small_repository(tmp_path)
    chart = root / "meta/Chart.yaml"
    chart.write_text(chart.read_text().replace("sub}", f"sub, {switch}}}"))
    schema = '{"additionalProperties": false, "properties": {"word": {}, "global": {}}}'
    (root / "charts/sub/values.schema.json").write_text(schema)
    layer = root / "config/one.yaml"
    layer.write_text(f"{layer.read_text()}subEnabled: false\ntags: {{extra: false}}\n")
    if archived:
        (root / "meta/charts").mkdir()
        with tarfile.open(root / "meta/charts/sub-2.0.0.tgz", "w:gz") as packed:
            packed.add(root / "charts/sub", "sub")
        shutil.rmtree(root / "charts")
        chart.write_text(chart.read_text().replace("file://../charts/sub", "https://charts.example.org"))
    assert [found["metadata"]["name"] for found in load(root).objects] == ["a"]
    layer.write_text(f"{layer.read_text()}sub: {{wrod: 1}}\n")
    with pytest.raises(ChartError, match=r"sub\.wrod: the values do not fit") as refused:
        _ = load(root).objects
    assert (refused.value.where, refused.value.hint) == ("config/one.yaml:7", "did you mean 'word'?")


@pytest.mark.parametrize(("line", "key"), [("domain: Not_A_Name", "global.domain"), ("domain: 7", "global.domain")])
def test_a_bad_domain_names_its_layer(tmp_path: Path, line: str, key: str) -> None:
    root = small_repository(tmp_path)
    layer = root / "config/one.yaml"
    layer.write_text(layer.read_text().replace("domain: one.localhost", line))
    with pytest.raises(ValuesError) as caught:
        _ = load(root).public
    assert key in caught.value.what
    assert caught.value.where == "config/one.yaml:2"


def test_the_binders_own_path_is_part_of_its_address(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    layer = root / "config/one.yaml"
    told = layer.read_text()
    layer.write_text(told + "binderhub:\n  config:\n    BinderHub: {base_url: /b}\n")
    assert load(root).public.url == "http://one.localhost:8080/b/"
    layer.write_text(told + "binderhub:\n  config:\n    BinderHub: {base_url: 'b?x='}\n")
    with pytest.raises(ValuesError, match=r"binderhub\.config\.BinderHub\.base_url: ") as caught:
        _ = load(root).public
    assert caught.value.where == "config/one.yaml:7"


def test_a_port_that_browsers_refuse_is_refused_where_it_stands(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    layer = root / "config/one.yaml"
    layer.write_text(layer.read_text().replace("8080", "10080"))
    with pytest.raises(ValuesError, match="browsers refuse to open pages at port 10080") as caught:
        _ = load(root).public
    assert caught.value.where == "config/one.yaml:3"


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    (root / "config/one.yaml").unlink()
    with pytest.raises(ValuesError, match=r"layer config/one.yaml of one is missing"):
        load(root)


def test_this_repository_renders_its_own_environment() -> None:
    deployment = load_deployment(REPOSITORY, load_project(REPOSITORY), "local")
    names = {(found["kind"], found["metadata"]["name"]) for found in deployment.objects}
    assert {("Deployment", "hub"), ("Deployment", "proxy"), ("Deployment", "binder"), ("Service", "registry")} <= names
    assert deployment.public.url == "http://binder.localhost:8080/"


def test_rendering_does_not_read_mybinder_charts(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    shutil.copytree(root / "charts/sub", root / "meta/charts/sub")
    (root / "meta/charts/sub/values.yaml").write_text("word: stale\n")
    assert load(root).computed["sub"]["word"] == "hello"
