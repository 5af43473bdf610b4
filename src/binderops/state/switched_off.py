"""A chart reduced to its schemas, every dependency switched on: so that Helm checks the values of those that are off.

Helm validates only what it renders. A misspelt key of a dependency that is off would lie there in silence until
somebody switches it on.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import PurePosixPath

from ruamel.yaml import YAML

from binderops.errors import ChartError

_KEPT = {"Chart.yaml", "values.yaml", "values.schema.json"}


@lru_cache(maxsize=8)
def schemas_only(archive: bytes) -> bytes:
    """The same chart without templates and conditions, as an archive; dependencies' own archives are unpacked."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", compresslevel=1) as packed:
        for name, content in _files(archive, PurePosixPath()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def _files(archive: bytes, folder: PurePosixPath) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as opened:
            members = [(PurePosixPath(member.name), opened.extractfile(member)) for member in opened if member.isreg()]
            files = [(path, file.read()) for path, file in members if file]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ChartError("a chart's archive cannot be read", where=str(folder) or None, why=str(error)) from None
    for path, content in files:
        if path.parent.name == "charts" and path.suffix == ".tgz":
            yield from _files(content, folder / path.parent)
        elif path.name in _KEPT and _is_a_charts_own(path):
            yield str(folder / path), _unconditional(content) if path.name == "Chart.yaml" else content


def _is_a_charts_own(path: PurePosixPath) -> bool:
    """Whether the file stands at the top of a chart: `NAME/…`, `NAME/charts/NAME/…`, and so on."""
    return len(path.parts) % 2 == 0 and set(path.parts[1:-1:2]) <= {"charts"}


def _unconditional(chart: bytes) -> bytes:
    reader = YAML(typ="safe", pure=True)
    meta = reader.load(chart)
    for dependency in meta.get("dependencies") or []:
        for switch in ("condition", "tags"):
            dependency.pop(switch, None)
    written = io.BytesIO()
    reader.dump(meta, written)
    return written.getvalue()
