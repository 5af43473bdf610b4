"""YAML files as Helm reads them, with the place of every key.

Two readers look at each file. Helm's own parser gives the values, since its rules (YAML 1.1 booleans, number forms)
are what the charts will see; ruamel.yaml gives the line of each key and refuses what Helm would take in silence: a key
that stands twice, a key that is not text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from binderops.errors import ValuesError
from binderops.helm.rendering import parse_values

KeyPath = tuple[str, ...]

_LARGEST_FILE = 4 * 1024 * 1024


@dataclass(frozen=True)
class Document:
    """One YAML file: its path as shown to people, its values, and the line (from 1) of each key path.

    `sealed` holds, for a sealed file, what stands for each value in the file: the same for whoever can open it or not.
    """

    name: str
    values: Mapping[str, Any]
    lines: Mapping[KeyPath, int]
    sealed: tuple[tuple[KeyPath, str], ...] | None = None

    def place(self, path: KeyPath) -> str:
        """`file:line` of a key path, or of its nearest parent that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        line = self.lines.get(path)
        return f"{self.name}:{line}" if line else self.name


def read_document(path: Path, *, name: str | None = None) -> Document:
    """Reads a file; raises ValuesError with file and line for whatever Helm or a strict reader would refuse."""
    shown = name or str(path)
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValuesError(
                f"{shown} is larger than {_LARGEST_FILE // 1024 // 1024} MiB",
                where=shown,
                why="a values file of that size is a mistake, or hostile",
                hint="move data out of the values into a file that the chart reads",
            )
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValuesError(
            f"the file {shown} is missing", where=shown, hint="create it, or take its name out of binderops.yaml"
        ) from None
    except OSError as error:
        raise ValuesError(f"{shown} cannot be read", where=shown, why=error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise ValuesError(f"{shown} is not UTF-8 text", where=shown, why=str(error)) from None
    return parse_document(text, name=shown)


def parse_document(text: str, *, name: str) -> Document:
    """Parses one YAML mapping; an empty text is an empty mapping."""
    lines = _key_lines(text, name=name)
    try:
        values = parse_values(text)
    except ValueError as error:
        raise ValuesError(f"{name} is not YAML that Helm reads", where=name, why=str(error)) from None
    return Document(name=name, values=values or {}, lines=lines)


def _key_lines(text: str, *, name: str) -> dict[KeyPath, int]:
    reader = YAML(pure=True)
    try:
        root = reader.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise ValuesError(f"{name} is not valid YAML", where=where, why=error.problem or str(error)) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise ValuesError(f"{name} is not valid YAML", where=name, why=str(error)) from None
    lines: dict[KeyPath, int] = {}
    if root is None or (isinstance(root, ScalarNode) and str(root.tag).endswith(":null")):
        return lines
    if not isinstance(root, MappingNode):
        raise ValuesError(
            f"{name} holds no mapping at its top", where=f"{name}:1", hint="write keys and values, as in `global:`"
        )
    _collect(root, (), lines, name=name)
    return lines


def _collect(node: Node, path: KeyPath, lines: dict[KeyPath, int], *, name: str) -> None:
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, str(index))] = item.start_mark.line + 1
            _collect(item, (*path, str(index)), lines, name=name)
    if not isinstance(node, MappingNode):
        return
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            raise ValuesError(f"{name}: a key is not text", where=f"{name}:{line}", hint="keys are plain words")
        child = (*path, str(key.value))
        if child in lines and str(key.value) != "<<":
            raise ValuesError(
                f"{name}: the key {'.'.join(child)} stands twice",
                where=f"{name}:{line}",
                why=f"it stands at line {lines[child]} already, and readers disagree on which one counts",
                hint="keep one of them",
            )
        lines[child] = line
        _collect(value, child, lines, name=name)
