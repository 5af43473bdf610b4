"""The production environment as a page, made from the files: repositories, charts, images, services, hosts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from binderops.state.chart import dependencies_of
from binderops.state.deployment import Deployment, Object, load_deployment
from binderops.state.documents import read_document
from binderops.state.project import load_project

_INTRODUCTION = """\
# The production environment

<!-- Made by scripts/reference.py from the files of this repository. -->

An overview of what a deployment is made of and where each part's settings stand. Everything here is read from the
files: what is not in them does not run.
"""

_SEED = [
    ("`mybinder/`", "`mybinder/`", "the meta chart"),
    (
        "`mybinder/requirements.yaml`",
        "`mybinder/Chart.yaml`, `dependencies`",
        "pinned dependent charts (Helm 4's place)",
    ),
    ("`mybinder/values.yaml`", "`mybinder/values.yaml`", "what staging and prod have in common"),
    ("`config/staging.yaml`, `config/prod.yaml`", "`config/ENV.yaml`", "settings of one environment, in clear"),
    (
        "`secret/config/staging.yaml`, `secret/config/prod.yaml`",
        "`secret/config/ENV.yaml`",
        "secrets of one environment, sealed",
    ),
    ("`mybinder/templates/redirector`", "`mybinder/templates/redirector/`", "extra software: an nginx redirector"),
]


def overview_page(root: Path, environment: str) -> str:
    """docs/overview.md, from the files and the render of one environment."""
    project = load_project(root)
    deployment = load_deployment(root, project, environment)
    parts = [
        _INTRODUCTION,
        "## Where the seed's paths are\n\n" + _table(("there", "here", "what"), _SEED),
        "## Environments\n\n" + _table(("environment", "runs on", "layers, later ones win"), _environments(root)),
        "## Charts\n\n" + _table(("chart", "version", "from", "switched by"), _charts(root, project.chart)),
        "## Images\n\n" + _table(("image", "made from", "its digest is written to"), _images(root, project.images)),
        f"## Hosts of `{environment}`\n\n" + _table(("host", "path", "served by", "Ingress"), _hosts(deployment)),
        f"## Services of `{environment}`\n\n" + _table(("Service", "type", "ports", "selects"), _services(deployment)),
        f"## What runs in `{environment}`\n\n" + _table(("object", "containers"), _workloads(deployment)),
    ]
    return "\n".join(parts)


def _environments(root: Path) -> Iterable[Sequence[str]]:
    for name, found in load_project(root).environments.items():
        node = found.target.node
        cluster = found.target.cluster
        where = f"node `{node.name}`, API port {node.api_port}" if node else f"cluster `{cluster and cluster.context}`"
        yield f"`{name}`", where, ", ".join(f"`{layer}`" for layer in found.layers)


def _charts(root: Path, chart: str) -> Iterable[Sequence[str]]:
    for folder in (chart, *_local_dependencies(root, chart)):
        meta = read_document(root / folder / "Chart.yaml", name=f"{folder}/Chart.yaml").values
        yield f"`{meta['name']}`", str(meta["version"]), f"`{folder}/`", f"`{folder}/values.yaml`"


def _local_dependencies(root: Path, chart: str) -> Iterable[str]:
    for dependency in dependencies_of(root, chart):
        repository = str(dependency.get("repository", ""))
        if repository.startswith("file://"):
            folder = (root / chart / repository.removeprefix("file://")).resolve().relative_to(root.resolve())
            yield folder.as_posix()
            for inner in sorted((root / folder / "charts").glob("*/Chart.yaml")):
                yield inner.parent.relative_to(root).as_posix()


def _images(root: Path, paths: dict[str, tuple[str, ...]]) -> Iterable[Sequence[str]]:
    for name in sorted(path.parent.name for path in root.glob("images/*/Containerfile")):
        written = ", ".join(f"`{path}`" for path in paths.get(name, ())) or "(the others start from it)"
        yield f"`{name}`", f"`images/{name}/`", written


def _hosts(deployment: Deployment) -> Iterable[Sequence[str]]:
    for found in _of_kind(deployment.objects, "Ingress"):
        for rule in found["spec"].get("rules") or []:
            for path in (rule.get("http") or {}).get("paths") or []:
                service = path["backend"]["service"]
                port = service["port"].get("number") or service["port"].get("name")
                yield (
                    f"`{rule.get('host', '*')}`",
                    f"`{path.get('path', '/')}`",
                    f"Service `{service['name']}:{port}`",
                    f"`{found['metadata']['name']}`",
                )


def _services(deployment: Deployment) -> Iterable[Sequence[str]]:
    for found in _of_kind(deployment.objects, "Service"):
        spec = found["spec"]
        ports = ", ".join(f"{port['port']}" for port in spec.get("ports") or [])
        selector = ", ".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items()))
        yield f"`{found['metadata']['name']}`", spec.get("type", "ClusterIP"), ports, f"`{selector}`"


def _workloads(deployment: Deployment) -> Iterable[Sequence[str]]:
    for kind in ("Deployment", "StatefulSet", "DaemonSet", "CronJob"):
        for found in _of_kind(deployment.objects, kind):
            containers = found["spec"].get("template", {}).get("spec", {}).get("containers") or []
            names = ", ".join(f"`{container['name']}`" for container in containers)
            yield f"{kind} `{found['metadata']['name']}`", names


def _of_kind(objects: Iterable[Object], kind: str) -> list[dict[str, Any]]:
    return sorted(
        (found for found in objects if found["kind"] == kind), key=lambda found: str(found["metadata"]["name"])
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
