"""Key paths against what the charts take and need: without any key."""

from __future__ import annotations

import difflib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from binderops.checks import Finding
from binderops.secrets.generating import Needed
from binderops.secrets.sealed import SealedFile


def needs(environment: str, sealed: SealedFile, needed: Iterable[Needed]) -> Iterator[Finding]:
    """Secrets that enabled components need and the sealed file does not have."""
    present = {leaf.path[:length] for leaf in sealed.leaves for length in range(1, len(leaf.path) + 1)}
    for one in needed:
        if one.path not in present:
            yield Finding(
                "secrets.missing",
                f"{'.'.join(one.path)} is not in {sealed.name}",
                sealed.place(one.path),
                f"it is needed ({one.purpose}); the chart would generate one that no file has",
                f"binderops secrets generate {environment}",
            )


def unknown_keys(sealed: SealedFile, schema: Mapping[str, Any]) -> Iterator[Finding]:
    """Key paths that a chart's closed schema does not know, with the nearest one that it does."""
    for leaf in sealed.leaves:
        found = _unknown(leaf.path, schema)
        if found is not None:
            depth, near = found
            yield Finding(
                "secrets.unknown-key",
                f"no chart knows {'.'.join(leaf.path[: depth + 1])}",
                f"{sealed.name}:{leaf.line}",
                "Helm would refuse it once it is opened",
                f"did you mean {near!r}?" if near else "binderops secrets edit ENV",
            )


def combined_schema(archive: bytes) -> Mapping[str, Any]:
    """The schema of a packed chart with those of its dependencies, each below its own name."""
    schema: dict[str, Any] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as packed:
        for member in packed.getmembers():
            parts = member.name.split("/")
            if parts[-1] == "values.schema.json" and set(parts[1:-1:2]) <= {"charts"}:
                file = packed.extractfile(member)
                _merge(schema, tuple(parts[2:-1:2]), json.loads(file.read()) if file else {})
    return schema


def _merge(schema: dict[str, Any], path: tuple[str, ...], found: Mapping[str, Any]) -> None:
    for part in path:
        schema = schema.setdefault("properties", {}).setdefault(part, {})
    properties = {**found.get("properties", {}), **schema.get("properties", {})}
    schema.update({**found, "properties": properties})


def _unknown(path: tuple[str, ...], schema: Mapping[str, Any]) -> tuple[int, str | None] | None:
    current: Mapping[str, Any] = schema
    for depth, part in enumerate(path):
        properties = current.get("properties") or {}
        if part in properties:
            current = properties[part]
        elif current.get("additionalProperties") is False and current.get("properties"):
            return depth, next(iter(difflib.get_close_matches(part, properties, n=1)), None)
        else:
            return None
    return None
