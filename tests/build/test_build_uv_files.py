"""Which repositories the uv buildpack claims, and the Dockerfile that it writes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.build.uv_dockerfile import Recipe
from binderops.build.uv_files import EnvironmentFiles
from binderops.errors import BuildError
from binderops.repository import OTHER_BUILDPACKS

HERE = f"python-{sys.version_info[0]}.{sys.version_info[1]}"
EXACT = f"python-{'.'.join(map(str, sys.version_info[:3]))}"
PACKAGE = '[project]\nname = "x"\nversion = "1"\n[build-system]\nrequires = ["hatchling"]\n'
LATER = PACKAGE.replace("[build", 'requires-python = ">=3.99"\n[build')
Repository = Callable[[dict[str, str]], EnvironmentFiles]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Writes a checkout."""

    def write(files: dict[str, str]) -> EnvironmentFiles:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return EnvironmentFiles(tmp_path)

    return write


@pytest.mark.parametrize(
    ("files", "refused"),
    [
        ({}, None),
        ({"index.ipynb": "{}"}, None),
        ({"requirements.txt": "numpy"}, None),
        ({"requirements.txt": "", "apt.txt": "git", "postBuild": "", "start": "", "runtime.txt": HERE}, None),
        ({"runtime.txt": f"{EXACT}\n"}, None),
        ({"runtime.txt": "python-3.7"}, "runtime.txt (python-3.7)"),
        ({"runtime.txt": f"{HERE}.99"}, f"runtime.txt ({HERE}.99)"),
        ({"runtime.txt": "r-4.1-2022-01-01"}, "runtime.txt (r-4.1-2022-01-01)"),
        ({"setup.py": ""}, None),
        ({"setup.py": "", "pyproject.toml": PACKAGE}, None),
        ({"pyproject.toml": "[tool.ruff]\n"}, None),
        ({"pyproject.toml": LATER}, "pyproject.toml (requires-python)"),
        # With a binder folder, what lies at the top says nothing.
        ({"environment.yml": "", "binder/requirements.txt": ""}, None),
        ({"requirements.txt": "", ".binder/environment.yml": ""}, ".binder/environment.yml"),
        *(({name: "", "requirements.txt": ""}, name) for name in OTHER_BUILDPACKS),
    ],
)  # fmt: skip
def test_claims_only_what_it_honours(repository: Repository, files: dict[str, str], refused: str | None) -> None:
    assert repository(files).unsupported() == refused


def test_two_binder_folders_are_refused(repository: Repository) -> None:
    with pytest.raises(BuildError, match="one must go"):
        repository({"binder/a": "", ".binder/a": ""}).unsupported()


def test_a_broken_pyproject_is_quoted(repository: Repository) -> None:
    with pytest.raises(BuildError, match="cannot be read"):
        repository({"pyproject.toml": "= 3"}).unsupported()


@pytest.mark.parametrize(
    ("text", "packages"),
    [
        ("", []),
        ("git\n\n# no\nlibfoo-dev # why\n", ["git", "libfoo-dev"]),
        ("b a\nb", ["a", "b"]),
        ("git=1:2.3-4", ["git=1:2.3-4"]),
    ],
)
def test_apt_packages(repository: Repository, text: str, packages: list[str]) -> None:
    assert repository({"apt.txt": text}).debian_packages() == packages


@pytest.mark.parametrize(
    "line", ["--allow-unauthenticated", "git;id", "$(id)", "../x", "-o", "Git", "a`id`", "git&&id"]
)
def test_apt_lines_that_are_no_package_are_refused(repository: Repository, line: str) -> None:
    with pytest.raises(BuildError, match="not the name of a Debian package"):
        repository({"apt.txt": line}).debian_packages()


@given(st.text(max_size=40))
def test_whatever_apt_txt_holds_the_names_are_plain(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    top = tmp_path_factory.mktemp("repository")
    (top / "apt.txt").write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        names = EnvironmentFiles(top).debian_packages()
    except BuildError:
        return
    assert all(name[0].isalnum() and not set(name) & set(" ;|&$`<>()'\"\\\n") for name in names)


def test_a_repository_without_files_is_only_copied(repository: Repository) -> None:
    assert Recipe(base="b", files=repository({})).render().splitlines() == [
        "FROM b",
        "USER root",
        'ENV REPO_DIR="/home/jovyan"',
        "WORKDIR /home/jovyan",
        'COPY --chown=1000:1000 ["./", "/home/jovyan/"]',
        "USER jovyan",
    ]


def test_every_file_has_its_step(repository: Repository) -> None:
    files = {f"binder/{name}": "x" for name in ("requirements.txt", "postBuild", "start", "apt.txt")}
    text = Recipe(base="b", files=repository(files), appendix="RUN appended").render()
    steps = text.splitlines()
    assert any("install-requirements -r binder/requirements.txt" in step for step in steps)
    assert "RUN chmod +x binder/postBuild && ./binder/postBuild" in steps
    assert 'ENTRYPOINT ["/usr/bin/tini", "-g", "--", "/home/jovyan/binder/start"]' in steps
    assert "--no-install-recommends x" in text
    assert steps[-1] == "RUN appended"
    assert text.index("USER jovyan") < text.index("install-requirements") < text.index("postBuild")


def test_a_package_is_installed_from_the_top(repository: Repository) -> None:
    text = Recipe(base="b", files=repository({"pyproject.toml": PACKAGE, "requirements.txt": "x"})).render()
    assert "install-requirements -r requirements.txt ." in text


def test_labels_cannot_break_out(repository: Repository) -> None:
    text = Recipe(base="b", files=repository({}), labels={"ref": 'a"\nRUN id $HOME'}).render()
    assert text.splitlines()[-1] == 'LABEL "ref"="a\\"\\nRUN id \\$HOME"'
