"""The production environment as a page, made from the files: repositories, charts, images, services, hosts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from binderops.state.chart import dependencies_of
from binderops.state.deployment import Deployment, load_deployment
from binderops.state.documents import Document, KeyPath, read_document
from binderops.state.overview_objects import Part, Places, hosts, parts_of, services, workloads
from binderops.state.project import Project, load_project
from binderops.state.values import get_path

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


def overview_page(root: Path) -> str:
    """docs/overview.md, from the files and the render of every environment."""
    project = load_project(root)
    pictures = [_Picture(root, project, name) for name in project.environments]
    parts = [
        _INTRODUCTION,
        "## Repositories\n\n" + _table(("what", "where", "pinned or set by"), _repositories(pictures)),
        "## Where the seed's paths are\n\n" + _table(("there", "here", "what"), _SEED),
        "## Environments\n\n" + _table(("environment", "runs on", "layers, later ones win"), _environments(project)),
        "## Charts\n\n" + _table(("chart", "its settings", "switched by", *project.environments), _charts(pictures)),
        "## Images\n\n" + _table(("image", "made from", "its digest is written to"), _images(root, project.images)),
        *(_section(picture) for picture in pictures),
    ]
    return "\n".join(parts)


@dataclass(frozen=True)
class _Picture:
    """One environment, rendered once."""

    root: Path
    project: Project
    name: str

    @cached_property
    def deployment(self) -> Deployment:
        return load_deployment(self.root, self.project, self.name)

    @cached_property
    def folders(self) -> dict[KeyPath, str]:
        """The block of each dependency that is kept in this repository → its folder."""
        return dict(_dependencies(self.root, self.project.chart))

    @cached_property
    def places(self) -> Places:
        return Places.of(self.root, self.deployment, self.project.chart, self.folders)

    @cached_property
    def parts(self) -> list[Part]:
        return parts_of(self.deployment, self.folders)


def _section(picture: _Picture) -> str:
    parts, places = picture.parts, picture.places
    tables = [
        "### Hosts\n\n" + _table(("host", "Service", "set by"), hosts(parts, places)),
        "### Services\n\n" + _table(("Service", "type, ports", "in front of", "settings"), services(parts, places)),
        "### What runs\n\n" + _table(("object", "images", "settings"), workloads(parts, places)),
    ]
    return "\n".join([f"## The environment `{picture.name}`\n", *tables])


def _repositories(pictures: Sequence[_Picture]) -> Iterator[Sequence[str]]:
    first = pictures[0]
    chart, meta = first.project.chart, _meta(first.root, first.project.chart)
    yield "the deployment", f"this one: `{chart}/`, `config/`, `secret/config/`, `images/`", "`binderops.yaml`"
    for index, dependency in enumerate(dependencies_of(first.root, chart)):
        source = str(dependency.get("repository", ""))
        where = f"this one: `{source.rpartition('../')[2]}/`" if source.startswith("file://") else f"`{source}`"
        pinned = meta.place(("dependencies", str(index), "version"))
        yield f"chart `{dependency['name']}` {dependency['version']}", where, f"`{pinned}`"
    for picture in pictures:
        key = "binderhub.config.BinderHub.repo_providers"
        providers = get_path(picture.deployment.computed, key) or {}
        names = ", ".join(f"`{prefix}` ({name})" for prefix, name in sorted(providers.items()) if name)
        yield f"what visitors of `{picture.name}` launch", names, picture.places.cell(key)
    for picture in pictures:
        proof = picture.project.environment(picture.name).proof
        yield f"the proof of `{picture.name}`", f"this one: `{proof}/`", f"`binderops.yaml`, `{picture.name}.proof`"


def _meta(root: Path, folder: str) -> Document:
    return read_document(root / folder / "Chart.yaml", name=f"{folder}/Chart.yaml")


def _environments(project: Project) -> Iterable[Sequence[str]]:
    for name, found in project.environments.items():
        node = found.target.node
        cluster = found.target.cluster
        where = f"node `{node.name}`, API port {node.api_port}" if node else f"cluster `{cluster and cluster.context}`"
        yield f"`{name}`", where, ", ".join(f"`{layer}`" for layer in found.layers)


def _charts(pictures: Sequence[_Picture]) -> Iterator[Sequence[str]]:
    first = pictures[0]
    root, chart = first.root, first.project.chart
    meta = _meta(root, chart).values
    yield f"`{meta['name']}` {meta['version']}", f"`{chart}/values.yaml`", "-", *["on"] * len(pictures)
    conditions: dict[KeyPath, str] = {
        (str(dependency["name"]),): str(dependency.get("condition") or "")
        for dependency in dependencies_of(root, chart)
    }
    for block, folder in first.folders.items():
        meta = _meta(root, folder).values
        switch = conditions.get(block[:1], "")
        states = [_switch(picture, switch) for picture in pictures]
        own = conditions.get(block, "")
        switched = f"`{own}`" if own else (f"with `{block[0]}`" if len(block) > 1 else "-")
        yield f"`{meta['name']}` {meta['version']}", f"`{'.'.join(block)}`, `{folder}/values.yaml`", switched, *states


def _switch(picture: _Picture, key: str) -> str:
    if not key:
        return "on"
    word = "on" if get_path(picture.deployment.computed, key) else "off"
    return f"{word}: {picture.places.cell(key).partition(': ')[2].partition(',')[0]}"


def _dependencies(root: Path, chart: str, block: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    for dependency in dependencies_of(root, chart):
        repository = str(dependency.get("repository", ""))
        if repository.startswith("file://"):
            folder = (root / chart / repository.removeprefix("file://")).resolve().relative_to(root.resolve())
            below = (*block, str(dependency["name"]))
            yield below, folder.as_posix()
            for inner in sorted((root / folder / "charts").glob("*/Chart.yaml")):
                yield (*below, inner.parent.name), inner.parent.relative_to(root).as_posix()


def _images(root: Path, paths: dict[str, tuple[str, ...]]) -> Iterable[Sequence[str]]:
    for name in sorted(path.parent.name for path in root.glob("images/*/Containerfile")):
        written = ", ".join(f"`{path}`" for path in paths.get(name, ())) or "(the others start from it)"
        yield f"`{name}`", f"`images/{name}/`", written


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
