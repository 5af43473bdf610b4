"""Where an image's digest goes in the values: the lock of images, placed by binderops.yaml's `images`.

The lock has each image at global.images.NAME. One lock serves every environment of a machine, perhaps of several
repositories: only what this repository names is taken from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from binderops.state.documents import Document, KeyPath
from binderops.state.values import set_path

_LOCKED: KeyPath = ("global", "images")


def place_images(document: Document, places: Mapping[str, Sequence[str]]) -> Document:
    """A generated layer with each image at the values paths of `places`; those that it does not name are left out.

    Lines keep leading to where the image stands in the lock. Without any `places` the layer stays as it is.
    """
    shared = document.values.get("global")
    locked = shared.get("images") if isinstance(shared, Mapping) else None
    if not places or not isinstance(shared, Mapping) or not isinstance(locked, Mapping):
        return document
    values: dict[str, Any] = deepcopy(dict(document.values))
    del values["global"]["images"]
    lines = {path: line for path, line in document.lines.items() if path[:2] != _LOCKED}
    for name, paths in places.items():
        if name not in locked:
            continue
        for dotted in paths:
            set_path(values, dotted, deepcopy(locked[name]))
            lines |= _lines_at(tuple(dotted.split(".")), document, name)
    return Document(name=document.name, values=values, lines=lines)


def _lines_at(place: KeyPath, document: Document, name: str) -> dict[KeyPath, int]:
    here = (*_LOCKED, name)
    found = {(*place, *path[len(here) :]): line for path, line in document.lines.items() if path[: len(here)] == here}
    parents = {place[:depth]: found[place] for depth in range(1, len(place)) if place in found}
    return parents | found
