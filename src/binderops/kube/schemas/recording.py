"""The recorded OpenAPI v3 documents of a real kube-apiserver: what it is, kept small in memory.

The package's data file holds `{"version", "index", "discovery": {"api", "apis"}, "documents": {PATH: document}}`, with
descriptions removed. It is read once; each document is kept as compressed text (4 kB on average), served without being
parsed, and parsed only for its definitions, when one of them is asked for.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple

DATA = "kubernetes-openapi-v3.json.gz"


class Document(NamedTuple):
    """One OpenAPI document: its compressed text, the digest that its address carries, the definitions it has."""

    packed: bytes
    digest: str
    definitions: tuple[str, ...]

    def text(self) -> bytes:
        """The document's JSON text."""
        return zlib.decompress(self.packed)


class Recording(NamedTuple):
    """The version, discovery as recorded, the documents by path, and where each definition and kind stands."""

    version: str
    discovery: dict[str, Any]
    documents: dict[str, Document]
    homes: dict[str, str]
    kinds: dict[tuple[str, str, str], str]


@cache
def recording() -> Recording:
    """The recording, read at first use."""
    text = gzip.decompress(files(__package__).joinpath(DATA).read_bytes()).decode()
    rest: dict[str, Any] = {}
    documents: dict[str, Document] = {}
    homes: dict[str, str] = {}
    kinds: dict[tuple[str, str, str], str] = {}
    for key, start in _members(text, 0):
        if key != "documents":
            rest[key] = _DECODER.raw_decode(text, start)[0]
            continue
        for path, begin in _members(text, start):
            parsed, end = _DECODER.raw_decode(text, begin)
            definitions = parsed["components"].get("schemas", {})
            raw = text[begin:end].encode()
            documents[path] = Document(zlib.compress(raw), sha256(raw).hexdigest()[:32].upper(), tuple(definitions))
            for name, definition in definitions.items():
                homes.setdefault(name, path)
                for gvk in _own_kinds(path, definition):
                    kinds.setdefault(gvk, name)
    return Recording(rest["version"], rest["discovery"], documents, homes, kinds)


_DECODER = json.JSONDecoder()
_BLANK = " \t\r\n"


def _members(text: str, start: int) -> Iterator[tuple[str, int]]:
    """The keys of the JSON object at `start`, each with the place where its value begins; values are skipped over."""
    at = _skip(text, start)
    if text[at] != "{":
        raise ValueError(f"{DATA} is damaged: no object at {at}")
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        value = _skip(text, _skip(text, at) + 1)
        yield key, value
        at = _skip(text, _end(text, value))
        if text[at] == ",":
            at = _skip(text, at + 1)


def _end(text: str, start: int) -> int:
    return _DECODER.raw_decode(text, start)[1]


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _own_kinds(path: str, definition: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The kinds that a definition stands for in its own document: DeleteOptions and WatchEvent name every group."""
    for entry in definition.get("x-kubernetes-group-version-kind", []):
        group, version, kind = entry["group"], entry["version"], entry["kind"]
        if path == (f"apis/{group}/{version}" if group else f"api/{version}"):
            yield group, version, kind
