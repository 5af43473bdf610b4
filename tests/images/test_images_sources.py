"""What decides whether an image is still the same, and what its build may read."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from binderops.errors import ImageError
from binderops.images.context import assemble, source_digest
from binderops.images.definitions import BASE, CHILDREN, ImageDefinition, Sources, clone_of_this_project
from binderops.images.machine import MachineSettings
from binderops.images.packages import debian_sources, write_machine_folder


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_text("one")
    (tmp_path / "source" / "run").write_text("#!/bin/sh\n")
    (tmp_path / "source" / "run").chmod(0o755)
    return {"a": tmp_path / "source" / "a", "deep/run": tmp_path / "source" / "run"}


def test_the_digest_depends_on_all_that_the_image_depends_on(files: dict[str, Path]) -> None:
    first = source_digest(files, parent="p", options={"x": "1"})
    assert source_digest(dict(reversed(files.items())), parent="p", options={"x": "1"}) == first
    os.utime(files["a"])
    assert source_digest(files, parent="p", options={"x": "1"}) == first
    different = {
        source_digest(files, parent="q", options={"x": "1"}),
        source_digest(files, parent="p", options={"x": "2"}),
        source_digest({"b": files["a"], "deep/run": files["deep/run"]}, parent="p", options={"x": "1"}),
    }
    files["a"].write_text("two")
    different.add(source_digest(files, parent="p", options={"x": "1"}))
    files["a"].chmod(0o755)
    different.add(source_digest(files, parent="p", options={"x": "1"}))
    assert len(different | {first}) == 6


def test_a_context_holds_the_files_and_always_looks_the_same(files: dict[str, Path], tmp_path: Path) -> None:
    assemble(files, tmp_path / "one")
    os.utime(files["a"], (1, 1))
    assemble(files, tmp_path / "two")
    assert (tmp_path / "one/deep/run").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "one/a").read_text() == "one"
    times = {path.stat().st_mtime for name in ("one", "two") for path in (tmp_path / name).rglob("*")}
    assert len(times) == 1


def test_images_carry_only_their_own_rooms() -> None:
    sources = clone_of_this_project()
    by_name = {image.name: sources.files(image) for image in (BASE, *CHILDREN)}
    assert all("Containerfile" in files for files in by_name.values())
    rooms = {
        name: {path.split("/")[2] for path in files if path.startswith("src/binderops/") and path.count("/") > 2}
        for name, files in by_name.items()
    }
    assert rooms["base"] == rooms["notebook"] == set()
    assert rooms["build"] == {"build", "oci"}
    assert rooms["platform"] >= {"binder", "hub", "ingress", "kube"}
    assert not rooms["platform"] & {"cli", "delivery", "node", "images", "secrets"}
    assert not any("__pycache__" in path for files in by_name.values() for path in files)


def test_only_declared_extras_are_installed() -> None:
    sources = clone_of_this_project()
    platform = next(image for image in CHILDREN if image.name == "platform")
    assert {"hub", "binder", "ingress"} <= set(sources.extras(platform))


def test_an_image_without_its_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="base cannot be built"):
        Sources(tmp_path).files(BASE)


def test_nothing_of_a_plain_machine_is_written(tmp_path: Path) -> None:
    write_machine_folder(tmp_path / "machine", MachineSettings(), suite="bookworm")
    assert [path.name for path in (tmp_path / "machine").iterdir()] == ["environment"]
    assert (tmp_path / "machine/environment").read_text() == ""


def test_a_machines_own_settings_are_mounted(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("PEM")
    settings = MachineSettings(
        ca_bundle=bundle, pip_index="https://i.example/a b;c", debian_mirror="https://m.example/debian"
    )
    write_machine_folder(tmp_path / "machine", settings, suite="bookworm")
    environment = (tmp_path / "machine/environment").read_text()
    assert "export PIP_INDEX_URL='https://i.example/a b;c'\n" in environment
    assert "export SSL_CERT_FILE=/run/machine/ca.crt\n" in environment
    assert "export APT_CONFIG=/run/machine/apt.conf\n" in environment
    assert (tmp_path / "machine/ca.crt").read_text() == "PEM"
    assert 'CAInfo "/run/machine/ca.crt"' in (tmp_path / "machine/apt.conf").read_text()
    assert "deb https://m.example/debian bookworm main" in (tmp_path / "machine/sources.list").read_text()


def test_the_images_own_sources_are_debians() -> None:
    assert debian_sources(MachineSettings(), "bookworm")[0] == "deb http://deb.debian.org/debian bookworm main"


@pytest.mark.parametrize("image", [image for image in CHILDREN if image.rooms], ids=lambda image: image.name)
def test_an_image_carries_all_of_this_project_that_its_programs_import(image: ImageDefinition) -> None:
    files = clone_of_this_project().files(image)
    carried = {name.removeprefix("src/").removesuffix(".py").removesuffix("/__init__") for name in files}
    imported = {
        module.replace(".", "/")
        for name, path in files.items()
        if name.endswith(".py")
        for node in ast.walk(ast.parse(path.read_text()))
        for module in imports_of(node)
    }
    assert imported - carried == set()


def imports_of(node: ast.AST) -> list[str]:
    """The modules of this project's that an import names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.startswith("binderops.")]
    module = node.module if isinstance(node, ast.ImportFrom) else None
    return [module] if module and module.startswith("binderops.") else []
