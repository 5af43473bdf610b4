"""`state` and `explain`: what would run, what it is made of, and which file says so. Files only; no key is needed."""

from __future__ import annotations

import json
from typing import Any

from binderops.delivery.results import ExplainResult, OriginResult, PartResult, StateResult
from binderops.delivery.secrets_verdict import quoted
from binderops.delivery.workspace import Workspace
from binderops.errors import UsageError
from binderops.state.values import get_path, leaves

_SEALED = "(sealed)"


def state(workspace: Workspace) -> StateResult:
    """Digests of an environment's state and of its common part, with every part of them."""
    composition = workspace.deployment(opened=False).composition
    parts = tuple(PartResult(name=part.name, digest=part.digest, common=part.common) for part in composition.parts)
    return StateResult(
        environment=workspace.name,
        digest=composition.digest,
        common=composition.common,
        parts=parts,
        secrets=quoted(workspace.root, workspace.project),
    )


def explain(workspace: Workspace, key: str) -> ExplainResult:
    """Which layer sets a key (`a.b.c`), and which others it covers; raises UsageError for a key that nothing sets."""
    deployment = workspace.deployment(opened=False)
    path = tuple(key.split("."))
    places: list[OriginResult] = []
    for document in reversed(deployment.layers.documents):
        below = [place for place in document.lines if place[: len(path)] == path]
        if not below:
            continue
        value = _SEALED if document.sealed is not None else told(get_path(document.values, key))
        places.append(OriginResult(where=document.place(path), value=value, wins=not places))
    default = get_path(deployment.chart_defaults, key, default=None)
    if default is not None:
        where = f"{deployment.chart.name}/values.yaml and its dependencies"
        places.append(OriginResult(where=where, value=told(default), wins=not places))
    if not places:
        near = ", ".join(sorted({".".join(found) for found, _ in leaves(deployment.computed) if path[-1] in found})[:5])
        raise UsageError(f"nothing sets {key}", where=workspace.name, hint=f"nearest: {near}" if near else None)
    sealed = any(place.wins and place.value == _SEALED for place in places)
    value = _SEALED if sealed else told(get_path(deployment.computed, key))
    return ExplainResult(environment=workspace.name, key=key, value=value, places=tuple(places))


def told(value: Any) -> str:
    """A value on one line, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    line = text.replace("\n", "⏎")
    return line if len(line) <= 160 else line[:159] + "…"
