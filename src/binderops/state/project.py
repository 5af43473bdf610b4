"""binderops.yaml, read: the environments of one repository, where each runs and which layers it is made of."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from binderops.errors import UsageError, ValuesError
from binderops.state.documents import Document, KeyPath, read_document
from binderops.state.settings import PROJECT_FILE, Environment, NodeSettings, Project, json_schema, keys_at

__all__ = ["PROJECT_FILE", "Environment", "Project", "find_root", "json_schema", "load_project"]


def find_root(start: Path) -> Path:
    """The nearest folder at or above `start` that holds binderops.yaml."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
    raise UsageError(
        f"no {PROJECT_FILE} here or above",
        where=str(start),
        hint="run binderops inside a deployment repository, or name one with --directory",
    )


def load_project(root: Path) -> Project:
    """Reads binderops.yaml; each error tells file, line, key, and the nearest right key."""
    document = read_document(root / PROJECT_FILE, name=PROJECT_FILE)
    try:
        project = Project.model_validate(_in_order(document))
    except ValidationError as error:
        raise _explained(error, document) from None
    for path, said, hint in (*_promotions(project), *_shared_places(project)):
        raise ValuesError(f"{PROJECT_FILE}: {'.'.join(path)}: {said}", where=document.place(path), hint=hint)
    return project


def _in_order(document: Document) -> dict[str, Any]:
    """The values with environments in the file's order; Helm's reader sorts keys, and people sort by meaning."""
    values = dict(document.values)
    found = values.get("environments")
    if isinstance(found, dict):
        values["environments"] = dict(sorted(found.items(), key=lambda item: document.lines["environments", item[0]]))
    return values


def _explained(error: ValidationError, document: Document) -> ValuesError:
    first = error.errors(include_url=False)[0]
    path = tuple(str(part) for part in first["loc"])
    hint = None
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], keys_at(path[:-1]), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "take it out"
    return ValuesError(
        f"{document.name}: {'.'.join(path)}: {first['msg']}", where=document.place(path), why=first["msg"], hint=hint
    )


def _promotions(project: Project) -> Iterator[tuple[KeyPath, str, str | None]]:
    for name, environment in project.environments.items():
        for index, other in enumerate(environment.promotes_to):
            path = ("environments", name, "promotesTo", str(index))
            if other not in project.environments:
                near = difflib.get_close_matches(other, project.environments, n=1)
                yield path, f"there is no environment {other!r}", f"did you mean {near[0]!r}?" if near else None
            elif name == other or name in _reached(project, other):
                yield path, f"{name} would wait for its own proof", "let promotions lead one way"


def _reached(project: Project, start: str, seen: frozenset[str] = frozenset()) -> set[str]:
    found: set[str] = set()
    for other in project.environments[start].promotes_to:
        if other in project.environments and other not in seen:
            found |= {other} | _reached(project, other, seen | {start, other})
    return found


def _shared_places(project: Project) -> Iterator[tuple[KeyPath, str, str | None]]:
    """A node, or a cluster's namespace, is one environment's own: two would share credentials, and a purge."""
    seen: dict[tuple[str, Any], str] = {}
    for name, environment in project.environments.items():
        node, cluster = environment.target.node, environment.target.cluster
        if cluster is not None:
            place = (cluster.context, cluster.kubeconfig, environment.namespace)
            other = seen.setdefault(("namespace", place), name)
            if other != name:
                named = ("environments", name, "namespace")
                yield named, f"{environment.namespace} of that cluster is {other}'s already", "one Binder a namespace"
        if node is None:
            continue
        path = ("environments", name, "target", "node")
        for key, value in (("name", node.name), ("apiPort", node.api_port)):
            other = seen.setdefault((key, value), name)
            if other != name:
                yield (*path, key), f"{value} is {other}'s already", _free(project, key, node)


def _free(project: Project, key: str, node: NodeSettings) -> str:
    if key == "name":
        return "give each environment a node of its own"
    taken = {found.target.node.api_port for found in project.environments.values() if found.target.node}
    return f"{next(port for port in range(node.api_port, 65536) if port not in taken)} is free here"
