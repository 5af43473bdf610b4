"""Charts rendered in-process, from a copy that `scripts/charts.py` packed: other tests run beside these."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RELEASE, NAMESPACE = "binder", "binder"

# The keys without which each render makes new secrets of its own.
FIXED_TOKENS: dict[str, Any] = {
    "binderhub": {
        "jupyterhub": {
            "hub": {
                "cookieSecret": "0" * 64,
                "config": {"CryptKeeper": {"keys": ["1" * 64]}},
                "services": {"binder": {"apiToken": "2" * 64}},
            },
            "proxy": {"secretToken": "3" * 64},
        }
    }
}

Object = dict[str, Any]


class Rendered(dict[tuple[str, str], Object]):
    """Objects by (kind, name); of those that stand in two namespaces, the release's own."""

    def of_kind(self, kind: str) -> dict[str, Object]:
        return {name: obj for (found, name), obj in self.items() if found == kind}


Render = Callable[..., Rendered]


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Values layers as Helm merges them: maps merge, everything else is replaced, nulls stay for Helm to act on."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def at(path: str, value: Any) -> dict[str, Any]:
    """{"a": {"b": value}} for "a.b"."""
    for part in reversed(path.split(".")):
        value = {part: value}
    nested: dict[str, Any] = value
    return nested


def objects_in(text: str) -> list[Object]:
    # By libyaml: in Python alone, reading a render takes three times as long as rendering it.
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mybinder/ and charts/ with everything that `make charts` makes."""
    folder = tmp_path_factory.mktemp("charts")
    for part in ("mybinder", "charts", "scripts", "config"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(folder / "mybinder" / "charts", ignore_errors=True)
    subprocess.run([sys.executable, str(folder / "scripts/charts.py")], check=True, timeout=60, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def local_values(tree: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((tree / "config/local.yaml").read_text())
    return values


@pytest.fixture(scope="session")
def render(tree: Path, local_values: dict[str, Any]) -> Render:
    """render(values...) → the objects of the local environment with these values laid over it."""

    def run(*layers: Mapping[str, Any], environment: bool = True) -> Rendered:
        values = merge(local_values if environment else {}, *layers)
        # Loaded anew: rendering removes the dependencies whose condition is false from the loaded chart, for good.
        with helm_python.Chart.load(tree / "mybinder") as chart:
            files = chart.render(values, name=RELEASE, namespace=NAMESPACE)
        rendered = Rendered()
        seen: set[tuple[str, str, str | None]] = set()
        for file, text in files.items():
            if file.endswith(".yaml"):
                for obj in objects_in(text):
                    key = (obj["kind"], obj["metadata"]["name"])
                    namespace = obj["metadata"].get("namespace")
                    assert (*key, namespace) not in seen, f"{key} is rendered twice"
                    seen.add((*key, namespace))
                    rendered.setdefault(key, obj)
        return rendered

    return run


@pytest.fixture(scope="session")
def local(render: Render) -> Rendered:
    """The local environment as it is."""
    return render(FIXED_TOKENS)
