"""Where a value stands that a chart's schema refuses: Helm tells the chart and the path, people want file and line."""

from __future__ import annotations

import difflib
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from binderops.errors import ValuesError
from binderops.helm.rendering import merged_values
from binderops.state.chart import ChartArchive
from binderops.state.documents import Document, KeyPath, parse_document
from binderops.state.values import Layers, get_path

_CHART = re.compile(r"^(?P<chart>[a-z0-9][a-z0-9.-]*):$")
_MISTAKE = re.compile(r"^- at '(?P<path>[^']*)': (?P<said>.*)$")
_NOT_ALLOWED = re.compile(r"additional propert(?:y|ies) (?P<keys>'.*') not allowed")


@dataclass(frozen=True)
class Place:
    """The first mistake: its key, `file:line`, and what to do."""

    key: str
    where: str
    hint: str | None


def first_mistake(why: str, chart: ChartArchive, layers: Layers) -> Place | None:
    """The place of the first key that Helm's words name; None where they name none that stands in a file."""
    defaults = merged_values(chart.content, {})
    documents = [*_own_values(chart), *layers.documents]
    for path, below in _paths(why, chart.name, defaults):
        for document in reversed(documents):
            if path in document.lines:
                return Place(".".join(path), document.place(path), _nearest(path, defaults) if below else None)
    return None


def _paths(why: str, chart: str, defaults: Mapping[str, Any]) -> Iterator[tuple[KeyPath, bool]]:
    """Key paths from the meta chart's root, and whether the last key is one that is not known there."""
    prefix: KeyPath = ()
    for line in map(str.strip, why.splitlines()):
        if named := _CHART.match(line):
            prefix = () if named["chart"] == chart else _below(defaults, named["chart"])
        elif mistake := _MISTAKE.match(line):
            path = (*prefix, *(part for part in mistake["path"].split("/") if part))
            unknown = _NOT_ALLOWED.search(mistake["said"])
            for key in re.findall(r"'([^']*)'", unknown["keys"]) if unknown else ():
                yield (*path, key), True
            if not unknown:
                yield path, False


def _below(values: Mapping[str, Any], chart: str) -> KeyPath:
    """The block of a dependency, by its name: at the top, or in another dependency's block."""
    if chart in values:
        return (chart,)
    return next(((name, chart) for name, block in values.items() if isinstance(block, dict) and chart in block), ())


def _nearest(path: KeyPath, defaults: Mapping[str, Any]) -> str | None:
    known = get_path(defaults, ".".join(path[:-1])) if len(path) > 1 else defaults
    others = [key for key in known if key != path[-1]] if isinstance(known, Mapping) else []
    near = difflib.get_close_matches(path[-1], others, n=1)
    return f"did you mean {near[0]!r}?" if near else None


def _own_values(chart: ChartArchive) -> Iterator[Document]:
    """values.yaml of the meta chart itself, as it was packed."""
    with tarfile.open(fileobj=io.BytesIO(chart.content), mode="r:*") as packed:
        name = f"{chart.name}/values.yaml"
        file = packed.extractfile(name) if name in packed.getnames() else None
        try:
            yield parse_document(file.read().decode() if file else "", name=name)
        except (ValuesError, UnicodeDecodeError):
            return
