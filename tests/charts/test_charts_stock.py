"""After `make charts`, the stock helm program lints, templates and builds without our code, and agrees with it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from tests.charts.conftest import FIXED_TOKENS, NAMESPACE, RELEASE, ROOT, Rendered, objects_in

GENERATED = {("Secret", name) for name in ("registry-token", "registry-pull", "binder-local")}


def run(*command: str | Path, cwd: Path) -> str:
    result = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


@pytest.fixture(scope="module")
def helm(stock_programs: Any) -> Path:
    found: Path = stock_programs.helm
    return found


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("values") / "fixed.yaml"
    file.write_text(yaml.safe_dump(FIXED_TOKENS))
    return file


def template(helm: Path, tree: Path, fixed: Path, chart: str = "mybinder") -> str:
    layers: list[str | Path] = ["--values", tree / "config/local.yaml", "--values", fixed]
    return run(helm, "template", RELEASE, chart, "--namespace", NAMESPACE, *layers, cwd=tree)


def test_lint(helm: Path, tree: Path) -> None:
    assert "0 chart(s) failed" in run(helm, "lint", "mybinder", "--values", "config/local.yaml", cwd=tree)
    for chart in ("binderhub", "nginx-ingress", "kube-lego"):
        image = "global.images.platform.name=localhost/binderops/platform"
        assert "0 chart(s) failed" in run(helm, "lint", f"charts/{chart}", "--set", image, cwd=tree)


def test_same_objects_as_ours(helm: Path, tree: Path, fixed: Path, local: Rendered) -> None:
    stock = {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects_in(template(helm, tree, fixed))}
    assert set(stock) == set(local)
    assert {key for key in stock if stock[key] != local[key]} == GENERATED


def test_dependencies_are_packed_and_locked(helm: Path, tree: Path) -> None:
    listed = run(helm, "dependency", "list", "mybinder", cwd=tree).splitlines()[1:]
    assert [line.split()[-1] for line in listed if line.strip()] == ["ok"] * 3


def test_helm_builds_what_we_pack(helm: Path, tree: Path, tmp_path: Path, fixed: Path) -> None:
    """`helm dependency build` accepts the committed Chart.lock and packs the same objects."""
    for part in ("mybinder", "charts", "config"):
        shutil.copytree(tree / part, tmp_path / part)
    shutil.rmtree(tmp_path / "mybinder/charts")
    run(helm, "dependency", "build", "mybinder", cwd=tmp_path)
    ours, theirs = (objects_in(template(helm, folder, fixed)) for folder in (tree, tmp_path))
    assert without_generated(ours) == without_generated(theirs)


def test_twin_with_requirements_renders_byte_for_byte(helm: Path, tree: Path, tmp_path: Path, fixed: Path) -> None:
    """The seed's form, apiVersion v1 with requirements.yaml."""
    twin = tmp_path / "twin"
    shutil.copytree(tree / "mybinder", twin)
    chart = yaml.safe_load((twin / "Chart.yaml").read_text())
    dependencies = chart.pop("dependencies")
    chart.pop("type")
    (twin / "Chart.yaml").write_text(yaml.safe_dump({**chart, "apiVersion": "v1"}))
    (twin / "requirements.yaml").write_text(yaml.safe_dump({"dependencies": dependencies}))
    (twin / "Chart.lock").rename(twin / "requirements.lock")
    ours, theirs = template(helm, tree, fixed), template(helm, tree, fixed, str(twin))
    assert blank_generated(ours) == blank_generated(theirs)


def without_generated(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    found = {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}
    return {key: obj for key, obj in found.items() if key not in GENERATED}


def blank_generated(text: str) -> str:
    documents = text.split("\n---\n")
    return "\n---\n".join(
        document
        for document in documents
        if not any(f"name: {name}\n" in document.partition("spec:")[0] for _, name in GENERATED)
    )


@pytest.fixture(scope="module")
def packing() -> ModuleType:
    """scripts/charts.py as a module."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        spec = importlib.util.spec_from_file_location("binderops_charts_script", ROOT / "scripts/charts.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    return module


def test_packing_twice_changes_nothing(packing: ModuleType, tree: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in (tree / "mybinder/charts").iterdir()}
    assert packing.pack_dependencies(tree / "mybinder") == []
    assert packing.write_schemas(tree) == []
    assert {file: file.stat().st_mtime_ns for file in (tree / "mybinder/charts").iterdir()} == before
    assert {file.name for file in before} == {
        f"{name}-0.1.0.tgz" for name in ("nginx-ingress", "kube-lego", "binderhub")
    }


def test_a_changed_chart_is_packed_again_and_stale_ones_go(packing: ModuleType, tree: Path, tmp_path: Path) -> None:
    for part in ("mybinder", "charts"):
        shutil.copytree(tree / part, tmp_path / part)
    (tmp_path / "charts/binderhub/templates/new.yaml").write_text("# new\n")
    stale = tmp_path / "mybinder/charts/binderhub-0.0.9.tgz"
    stale.write_bytes(b"")
    changed = packing.pack_dependencies(tmp_path / "mybinder")
    assert {file.name for file in changed} == {"binderhub-0.1.0.tgz", "binderhub-0.0.9.tgz"}
    assert not stale.exists()


def test_a_pin_that_names_another_version_is_refused(packing: ModuleType, tree: Path, tmp_path: Path) -> None:
    for part in ("mybinder", "charts"):
        shutil.copytree(tree / part, tmp_path / part)
    file = tmp_path / "charts/kube-lego/Chart.yaml"
    file.write_text(file.read_text().replace("version: 0.1.0", "version: 0.2.0"))
    with pytest.raises(SystemExit, match=r"kube-lego is pinned to 0\.1\.0, and .* is 0\.2\.0"):
        packing.pack_dependencies(tmp_path / "mybinder")


def test_committed_schemas_are_those_of_the_shapes(tree: Path) -> None:
    """`tree` was packed from a copy: what it wrote must be what is committed."""
    schemas = [file.relative_to(tree) for file in tree.glob("**/values.schema.json")]
    assert len(schemas) == 5
    for schema in schemas:
        assert (ROOT / schema).read_bytes() == (tree / schema).read_bytes(), f"{schema}: run `make charts`"
