"""`$(VAR)` in command, args, env values and subPathExpr, by Kubernetes' own grammar.

`$(NAME)` is replaced where NAME is known, and left as it is where not; `$$` is one `$`, so `$$(NAME)` stays `$(NAME)`.
Source: kubernetes/third_party/forked/golang/expansion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


def expand(text: str, known: Mapping[str, str]) -> str:
    """`text` with every reference to a name in `known` replaced."""

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "$"
        return known.get(name, match.group(0))

    return _REFERENCE.sub(replace, text)


def references(text: str) -> list[str]:
    """The names that `text` refers to, in order."""
    return [match.group(1) for match in _REFERENCE.finditer(text) if match.group(1) is not None]
