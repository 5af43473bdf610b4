"""Layers of values, merged as Helm merges `--values` files, and where each winning key came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from binderops.state.documents import Document, KeyPath


@dataclass(frozen=True)
class Layers:
    """The layers of an environment in order, later ones winning."""

    documents: tuple[Document, ...]

    @property
    def merged(self) -> dict[str, Any]:
        """The values that Helm is given: maps merge, lists and scalars replace, null is kept (Helm deletes by it)."""
        return merge_documents([document.values for document in self.documents])

    def origin(self, path: KeyPath) -> str | None:
        """`file:line` of the layer whose value for this path wins, or None where only the chart's defaults set it."""
        for document in reversed(self.documents):
            if _contains(document.values, path):
                return document.place(path)
        return None


def merge_documents(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merges as `helm -f A -f B` does (helm: pkg/cli/values MergeMaps): a null in a later layer stays a null."""
    result: dict[str, Any] = {}
    for layer in layers:
        _merge_into(result, layer)
    return result


def _merge_into(target: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        present = target.get(key)
        if isinstance(value, Mapping) and isinstance(present, dict):
            _merge_into(present, value)
        else:
            target[key] = deepcopy(value)


def leaves(values: Mapping[str, Any], prefix: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every leaf with its path; lists and empty maps are leaves."""
    for key, value in values.items():
        path = (*prefix, str(key))
        if isinstance(value, Mapping) and value:
            yield from leaves(value, path)
        else:
            yield path, value


def set_path(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Sets `a.b.c` in nested maps, making those that are missing."""
    *parents, last = dotted.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[last] = value


def get_path(values: Mapping[str, Any], dotted: str, default: Any = None) -> Any:
    """Reads `a.b.c`, or the default where a part is missing."""
    current: Any = values
    for part in dotted.split("."):
        if not isinstance(current, Mapping) or part not in current:
            return default
        current = current[part]
    return current


def _contains(values: Mapping[str, Any], path: KeyPath) -> bool:
    current: Any = values
    for part in path:
        if isinstance(current, list) and part.isdigit() and int(part) < len(current):
            current = current[int(part)]
        elif isinstance(current, Mapping) and part in current:
            current = current[part]
        else:
            return False
    return True
