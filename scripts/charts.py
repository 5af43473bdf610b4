"""Pack the charts maintained here into mybinder/charts/: as `helm dependency build`, but the same bytes each time.

Also writes each values.schema.json from the values.shape.yaml beside it. Files are touched only when they change, so
that running this twice costs milliseconds and changes nothing.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import yaml
from shapes import schema_of

from binderops.binder.traits import known_traits
from binderops.ingress.settings import SUPPORTED_SETTINGS

ROOT = Path(__file__).resolve().parent.parent
IGNORED = {"values.shape.yaml"}


def main() -> int:
    """Write schemas and archives; print what changed."""
    changed = [*write_schemas(ROOT), *pack_dependencies(ROOT / "mybinder")]
    for file in changed:
        sys.stdout.write(f"{file.relative_to(ROOT)}\n")
    return 0


def write_schemas(root: Path) -> list[Path]:
    """values.schema.json of each chart, from its values.shape.yaml; the files that changed."""
    changed = []
    for source in sorted(root.glob("mybinder/values.shape.yaml")) + sorted(root.glob("charts/**/values.shape.yaml")):
        chart = source.parent
        schema = schema_for(chart)
        target = chart / "values.schema.json"
        if write_if_changed(target, (json.dumps(schema, indent=1, ensure_ascii=False) + "\n").encode()):
            changed.append(target)
    return changed


def schema_for(chart: Path) -> dict[str, Any]:
    """The JSON schema of a chart's values, from its values.shape.yaml and refused.yaml."""
    document = read_yaml(chart / "values.shape.yaml")
    document.setdefault("shapes", {})["traits"] = {"$schema": traits_schema()}
    document["shapes"]["settings"] = {"$schema": settings_schema()}
    return schema_of(document, refused_of(chart), title=f"Values of the {chart.name} chart")


def refused_of(chart: Path) -> dict[str, Any]:
    """The keys that a chart refuses by name."""
    file = chart / "refused.yaml"
    return read_yaml(file) if file.exists() else {}


def traits_schema() -> dict[str, Any]:
    """`config` of the binderhub chart: the classes and traits that the binder knows; it reads their values itself."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {
                "type": ["object", "null"],
                "additionalProperties": False,
                "properties": {trait: {} for trait in sorted(known)},
            }
            for name, known in sorted(known_traits().items())
        },
    }


def settings_schema() -> dict[str, Any]:
    """`controller.config` of the nginx-ingress chart: the settings that the controller knows; it reads their values."""
    value = {"type": ["string", "integer", "boolean", "null"]}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: dict(value) for name in SUPPORTED_SETTINGS},
    }


def pack_dependencies(chart: Path) -> list[Path]:
    """Archives of the chart's file:// dependencies in its charts/; the files that changed, stale ones removed."""
    folder = chart / "charts"
    folder.mkdir(exist_ok=True)
    changed, wanted = [], set()
    for dependency in read_yaml(chart / "Chart.yaml")["dependencies"]:
        source = (chart / dependency["repository"].removeprefix("file://")).resolve()
        found = read_yaml(source / "Chart.yaml")["version"]
        if found != dependency["version"]:
            sys.exit(
                f"{chart / 'Chart.yaml'}: {dependency['name']} is pinned to {dependency['version']}, "
                f"and {source} is {found}: change one of them"
            )
        target = folder / f"{dependency['name']}-{found}.tgz"
        wanted.add(target)
        if write_if_changed(target, archive(source)):
            changed.append(target)
    for stale in set(folder.iterdir()) - wanted:
        stale.unlink()
        changed.append(stale)
    return changed


def archive(chart: Path) -> bytes:
    """The chart as a .tgz in Helm's layout: sorted, without times and owners, so that equal files give equal bytes."""
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(path for path in chart.rglob("*") if path.is_file() and path.name not in IGNORED):
            entry = tarfile.TarInfo(f"{chart.name}/{file.relative_to(chart).as_posix()}")
            content = file.read_bytes()
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(tarred.getvalue(), mtime=0)


def write_if_changed(file: Path, content: bytes) -> bool:
    """Whether the file had to be written."""
    if file.exists() and file.read_bytes() == content:
        return False
    file.write_bytes(content)
    return True


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file whose top is a map."""
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    return document


if __name__ == "__main__":
    sys.exit(main())
