"""Discovery and the OpenAPI index, as kube-apiserver answers them, cut to what a server supports."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from binderops.kube.schemas.recording import recording

Resource = tuple[str, str, str]
"""(group, version, plural), with `/SUBRESOURCE` behind the plural for one: ("apps", "v1", "deployments/scale")."""


def version() -> str:
    """The version of the API server that was recorded: `v1.35.4`."""
    return recording().version


def discovery(supported: Collection[Resource] | None = None) -> dict[str, dict[str, Any]]:
    """Aggregated discovery (apidiscovery.k8s.io/v2) of `/api` and `/apis`, under "api" and "apis".

    With `supported`, only these resources and subresources, and only groups and versions that have any.
    """
    kept = recording().discovery
    return {root: {**kept[root], "items": _groups(kept[root]["items"], supported)} for root in ("api", "apis")}


def openapi_index(supported: Collection[Resource] | None = None) -> dict[str, Any]:
    """What `/openapi/v3` answers: each document's address, with a digest for caches."""
    wanted = None if supported is None else {_document_path(group, version) for group, version, _ in supported}
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={document.digest}"}
            for path, document in recording().documents.items()
            if wanted is None or path in wanted or path in ("api", "apis", "version")
        }
    }


def document(path: str) -> bytes:
    """The JSON text of the document at a path (`api/v1`, `apis/apps/v1`), as recorded; KeyError if there is none."""
    return recording().documents[path].text()


def _document_path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _groups(groups: list[dict[str, Any]], supported: Collection[Resource] | None) -> list[dict[str, Any]]:
    if supported is None:
        return groups
    found = []
    for group in groups:
        name = group["metadata"].get("name", "")
        versions = [_version(name, version, supported) for version in group["versions"]]
        if kept := [version for version in versions if version["resources"]]:
            found.append({**group, "versions": kept})
    return found


def _version(group: str, version: dict[str, Any], supported: Collection[Resource]) -> dict[str, Any]:
    resources = []
    for resource in version["resources"]:
        plural = resource["resource"]
        if (group, version["version"], plural) not in supported:
            continue
        below = [
            each
            for each in resource.get("subresources", [])
            if (group, version["version"], f"{plural}/{each['subresource']}") in supported
        ]
        rest = {key: value for key, value in resource.items() if key != "subresources"}
        resources.append(rest | ({"subresources": below} if below else {}))
    return {**version, "resources": resources}
