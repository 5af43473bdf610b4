"""Reads upstream.txt: every key of the upstream charts, and what is due to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

FILE = Path(__file__).parent / "upstream.txt"


def read_upstream(text: str) -> dict[str, str]:
    """Key below the meta chart's values → H, N, L or R; raises ValueError for a line that says nothing of the kind."""
    shapes: dict[str, str] = {}
    found: dict[str, str] = {}
    prefix: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if shape := re.fullmatch(r"([A-Z]+) = (\S+)", line):
            shapes[shape[1]] = "{" + shape[2] + "}"
        elif heading := re.fullmatch(r"\[(\S*)\]", line):
            prefix = heading[1]
        elif (entry := re.fullmatch(r"([HNLR]) (\S+)", line)) and prefix is not None:
            for key in expand(_with_shapes(entry[2], shapes)):
                if prefix + key in found:
                    raise ValueError(f"line {number}: {prefix + key} stands twice")
                found[prefix + key] = entry[1]
        else:
            raise ValueError(f"line {number} is neither a shape, a [PREFIX] nor a key with what is due: {line}")
    return found


def _with_shapes(text: str, shapes: Mapping[str, str]) -> str:
    return re.sub(r"(?<=[.{,])[A-Z]+(?=$|[,}])", lambda name: shapes.get(name[0], name[0]), text)


def expand(text: str) -> Iterator[str]:
    """`a.{b,c.{d,e}}` → a.b, a.c.d, a.c.e."""
    start = text.find("{")
    if start < 0:
        yield text
        return
    for part in _parts(text, start):
        yield from expand(text[:start] + part + text[_end(text, start) + 1 :])


def _end(text: str, start: int) -> int:
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return place
    raise ValueError(f"a bracket is not closed: {text}")


def _parts(text: str, start: int) -> Iterator[str]:
    depth, begin = 0, start + 1
    for place in range(start + 1, _end(text, start) + 1):
        letter = text[place]
        if depth == 0 and letter in ",}":
            yield text[begin:place]
            begin = place + 1
        depth += {"{": 1, "}": -1}.get(letter, 0)
