"""The meta chart with its dependencies, packed in memory.

Dependencies that are maintained here (`file://` repositories) are taken from their folder, never from an archive that
`helm dependency build` left behind: a changed chart is seen at once, which stock Helm does not do. All others must lie
as archives in the chart's own `charts/`; a declared dependency that is missing is refused, which Helm's library does
not do either.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binderops.errors import ChartError
from binderops.state.documents import read_document

_IGNORED_PARTS = {".git", "__pycache__", ".DS_Store"}


@dataclass(frozen=True)
class ChartArchive:
    """A chart as an archive that Helm loads, and the digest (sha256:HEX) of each part of it.

    Digests are over files, not over the archive: compressed bytes differ between versions of zlib.
    """

    name: str
    version: str
    content: bytes
    parts: tuple[tuple[str, str], ...]

    @property
    def digest(self) -> str:
        """What the chart is: the same files give the same digest on every machine."""
        return digest_of(self.parts)


def digest_of(told: object) -> str:
    """sha256:HEX over the canonical JSON of plain data."""
    text = json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def pack_chart(root: Path, chart: str) -> ChartArchive:
    """Packs `root/chart` with its dependencies; raises ChartError for one that is declared and not there."""
    folder = root / chart
    if not (folder / "Chart.yaml").is_file():
        raise ChartError(
            f"there is no chart at {chart}", where=f"{chart}/Chart.yaml", hint="name the meta chart's folder"
        )
    meta = read_document(folder / "Chart.yaml", name=f"{chart}/Chart.yaml").values
    name, version = str(meta.get("name", "")), str(meta.get("version", ""))
    files = dict(_chart_files(folder, prefix=name, skip_charts=True))
    values = {path: files[path] for path in files if path == f"{name}/values.yaml"}
    own = {path: content for path, content in files.items() if path not in values}
    parts = [(f"{chart}: chart", _files_digest(own)), (f"{chart}/values.yaml", _files_digest(values))]
    for dependency in dependencies_of(root, chart):
        found = dict(_dependency_files(root, folder, dependency, prefix=f"{name}/charts", shown=chart))
        parts.append((f"{chart}: {dependency['name']} {dependency['version']}", _files_digest(found)))
        files.update(found)
    return ChartArchive(name=name, version=version, content=_tar(files), parts=tuple(parts))


def _files_digest(files: Mapping[str, bytes]) -> str:
    return digest_of({path: hashlib.sha256(content).hexdigest() for path, content in files.items()})


def dependencies_of(root: Path, chart: str) -> list[dict[str, Any]]:
    """What Chart.yaml declares, or for a chart of Helm 2's form, requirements.yaml."""
    folder = root / chart
    declared = read_document(folder / "Chart.yaml", name=f"{chart}/Chart.yaml").values.get("dependencies") or []
    requirements = folder / "requirements.yaml"
    if not declared and requirements.is_file():
        declared = read_document(requirements, name=f"{chart}/requirements.yaml").values.get("dependencies") or []
    return [dict(entry) for entry in declared]


def chart_folders(root: Path, chart: str) -> Iterator[Path]:
    """The folder of a chart, those of its dependencies that are maintained here, and of what lies unpacked in them."""
    yield root / chart
    for dependency in dependencies_of(root, chart):
        repository = str(dependency.get("repository", ""))
        if repository.startswith("file://"):
            folder = (root / chart / repository.removeprefix("file://")).resolve()
            yield root / folder.relative_to(root.resolve())
            yield from sorted(path.parent for path in folder.glob("charts/*/Chart.yaml"))


def _dependency_files(
    root: Path, folder: Path, dependency: dict[str, Any], *, prefix: str, shown: str
) -> Iterator[tuple[str, bytes]]:
    name, version = str(dependency.get("name", "")), str(dependency.get("version", ""))
    where = f"{shown}/Chart.yaml: dependencies.{name}"
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?", version):
        raise ChartError(
            f"the dependency {name} is not pinned exactly",
            where=where,
            why=f"its version is {version!r}, and a range gives another chart on another day",
            hint="write one version, as in 1.2.3",
        )
    repository = str(dependency.get("repository", ""))
    if repository.startswith("file://"):
        source = (folder / repository.removeprefix("file://")).resolve()
        if not source.is_relative_to(root.resolve()):
            raise ChartError(f"the dependency {name} lies outside this repository", where=where, why=repository)
        if not (source / "Chart.yaml").is_file():
            raise ChartError(f"the dependency {name} is missing", where=where, why=f"no chart at {repository}")
        found = str(read_document(source / "Chart.yaml").values.get("version", ""))
        if found != version:
            raise ChartError(
                f"the dependency {name} is {found}, but {version} is pinned",
                where=where,
                hint=f"pin {found}, or go back to {version}",
            )
        yield from _chart_files(source, prefix=f"{prefix}/{name}", skip_charts=False)
        return
    archive = folder / "charts" / f"{name}-{version}.tgz"
    if not archive.is_file():
        raise ChartError(
            f"the dependency {name} {version} is missing",
            where=where,
            why=f"there is no {shown}/charts/{archive.name}",
            hint=f"helm dependency build {shown}",
        )
    yield f"{prefix}/{archive.name}", archive.read_bytes()


def _chart_files(folder: Path, *, prefix: str, skip_charts: bool) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_symlink() or not path.is_file() or _IGNORED_PARTS & set(relative.parts):
            continue
        if skip_charts and relative.parts[0] == "charts":
            continue
        yield f"{prefix}/{relative.as_posix()}", path.read_bytes()


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1, format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(files[name]), 0o644, 0
            archive.addfile(entry, io.BytesIO(files[name]))
    content = bytearray(buffer.getvalue())
    content[4:8] = b"\0\0\0\0"  # gzip's own time stamp: the same files must give the same bytes
    return bytes(content)
