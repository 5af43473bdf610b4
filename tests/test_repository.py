"""Which environments a few files say all of."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.repository import OTHER_BUILDPACKS, are_plain_requirements, plain_environment


def environment(files: Mapping[str, str | None]) -> object:
    return plain_environment(files.keys(), files.__getitem__)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("numpy\npandas==2.1 # why\n\n# a comment\nscipy[all,test] >= 1, <2\n", True),
        ('importlib-metadata; python_version < "3.8"\n', True),
        ("-r more.txt\n", False),
        ("-e .\n", False),
        (".\n", False),
        ("./package\n", False),
        ("package.whl @ file:///home/jovyan/package.whl\n", False),
        ("package @ https://example.org/package.whl\n", False),
        ("git+https://example.org/a.git\n", False),
        ("--find-links wheels\n", False),
        ("numpy \\\n  --hash=sha256:00\n", False),
        ("numpy==${VERSION}\n", False),
    ],
)
def test_requirements_that_name_packages_alone(text: str, plain: bool) -> None:
    assert are_plain_requirements(text) is plain


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    assert are_plain_requirements(text) in {True, False}


@pytest.mark.parametrize("name", [*OTHER_BUILDPACKS, "postBuild", "setup.py", "pyproject.toml", "runtime.txt"])
@pytest.mark.parametrize("folder", ["", "binder/", ".binder/"])
def test_what_reads_more_is_not_plain(name: str, folder: str) -> None:
    assert environment({f"{folder}requirements.txt": "numpy\n", "a.ipynb": "{}"}) == {
        f"{folder}requirements.txt": "numpy\n"
    }
    assert environment({f"{folder}requirements.txt": "numpy\n", f"{folder}{name}": ""}) is None


@pytest.mark.parametrize(
    "files",
    [
        {"binder/apt.txt": "", ".binder/apt.txt": ""},
        {"binder": "a link or a file", "requirements.txt": ""},
        {"requirements.txt": None},
    ],
    ids=["two folders", "no folder", "a link"],
)
def test_what_repo2docker_and_we_might_read_differently_is_not_plain(files: dict[str, str | None]) -> None:
    assert environment(files) is None


def test_only_the_folders_files_count_where_there_is_one() -> None:
    files = {"binder/apt.txt": "figlet", "binder/start": "x", "requirements.txt": "-e .", "setup.py": ""}
    assert environment(files) == {"binder/apt.txt": "figlet", "binder/start": "x"}
