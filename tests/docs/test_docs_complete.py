"""What users meet has its place in the docs: error ids, commands and flags, keys of binderops.yaml, generated pages."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from binderops import errors
from binderops.errors import BinderOpsError
from binderops.ingress.annotations import SUPPORTED
from binderops.ingress.settings import SUPPORTED_SETTINGS
from binderops.state.project import json_schema

ROOT = Path(__file__).parents[2]
ERRORS_PAGE = (ROOT / "docs/operate/errors.md").read_text(encoding="utf-8")


def _tree(root: type[BinderOpsError]) -> Iterator[type[BinderOpsError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


KINDS: list[type[BinderOpsError]] = sorted(_tree(BinderOpsError), key=lambda kind: kind.reference)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_its_row_and_its_place_in_the_picture(kind: type[BinderOpsError]) -> None:
    assert f"| `{kind.reference}` |" in ERRORS_PAGE
    assert kind.__module__ == "binderops.errors", "errors stand in one tree, in one file"
    assert re.search(rf"\b{kind.__name__}\b", errors.__doc__ or ""), "the picture at the top of errors.py"


def test_no_row_is_left_of_an_error_that_is_gone() -> None:
    documented = set(re.findall(r"^\| `([a-z.-]+)` \|", ERRORS_PAGE, flags=re.M))
    assert documented == {kind.reference for kind in _tree(BinderOpsError)}


def test_generated_pages_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_key_of_an_environment_is_explained() -> None:
    page = (ROOT / "docs/operate/environments.md").read_text(encoding="utf-8")
    definitions = json_schema()["$defs"]
    keys = [
        key for name in ("Environment", "NodeSettings", "ClusterSettings") for key in definitions[name]["properties"]
    ]
    assert [key for key in keys if not re.search(rf"\b{key}\b", page)] == []


@pytest.mark.parametrize("name", sorted({*SUPPORTED, *SUPPORTED_SETTINGS}))
def test_every_annotation_and_setting_is_explained(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/operate/ingress.md").read_text(encoding="utf-8")
