"""What an environment runs, for the overview: hosts, Services and workloads, each with the key that sets it.

The key follows from the template that an object is rendered by: the chart's block in the values, and in it the block
that is named as the template's folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binderops.helm.rendering import render_chart
from binderops.state.deployment import Deployment, Object, parse_manifests
from binderops.state.documents import Document, KeyPath, read_document
from binderops.state.values import get_path

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "CronJob")
Row = Sequence[str]


@dataclass(frozen=True)
class Part:
    """An object, and the block of the values that its template reads."""

    object: Object
    block: KeyPath

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.object["kind"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.object["metadata"]["name"])


@dataclass(frozen=True)
class Places:
    """Where keys stand: in an environment's layers, in the meta chart's values.yaml, in the defaults of each chart."""

    layers: tuple[Document, ...]
    defaults: tuple[tuple[KeyPath, Document], ...]

    @classmethod
    def of(cls, root: Path, deployment: Deployment, chart: str, folders: Mapping[KeyPath, str]) -> Places:
        """`folders`: the block of each dependency → its folder."""
        own = read_document(root / chart / "values.yaml", name=f"{chart}/values.yaml")
        others = [
            (block, read_document(root / folder / "values.yaml", name=f"{folder}/values.yaml"))
            for block, folder in sorted(folders.items(), key=lambda item: len(item[0]), reverse=True)
        ]
        return cls(tuple(reversed(deployment.layers.documents)), (((), own), *others))

    def cell(self, key: str) -> str:
        """The key, and every `file:line` that sets it or is in it, the one that wins first."""
        path = tuple(key.split("."))
        found = [document.place(path) for document in self.layers if path in document.lines]
        for block, document in self.defaults:
            if path[: len(block)] == block and path[len(block) :] in document.lines:
                found.append(document.place(path[len(block) :]))
            elif path == block:
                found.append(document.name)
        return f"`{key}`: " + ", ".join(f"`{place}`" for place in found)


def parts_of(deployment: Deployment, blocks: Iterable[KeyPath]) -> list[Part]:
    """Every object of the environment's own release, in the order of its templates."""
    main, known = deployment.main, set(blocks)
    values = main.values_for_helm()
    rendered = render_chart(deployment.chart.content, values, release=main.release, namespace=main.namespace)
    return [
        Part(found, _block(template, deployment.computed, known))
        for template, text in sorted(rendered.items())
        for found in parse_manifests({template: text})
    ]


def _block(template: str, values: Mapping[str, Any], known: set[KeyPath]) -> KeyPath:
    """`mybinder/charts/a/charts/b/templates/hub/x.yaml` reads `a.b.hub`, where there is such a block."""
    chart, _, below = template.partition("/templates/")
    block = tuple(chart.split("/charts/")[1:])
    folder, _, rest = below.partition("/")
    head, *tail = folder.split("-")
    name = head + "".join(word.title() for word in tail)
    for key in (f"{name}Server", name) if rest else ():  # `registry` says which one is used, `registryServer` runs it
        if isinstance(get_path(values, ".".join((*block, key))), Mapping):
            return (*block, key)
    return block if block in known or not rest else (*block, folder)


def hosts(parts: Iterable[Part], places: Places) -> Iterator[Row]:
    """(host and path, Service, keys)."""
    for part in _of_kinds(parts, "Ingress"):
        ingress = part.block if part.block[-1:] == ("ingress",) else (*part.block, "ingress")
        rules = part.object["spec"].get("rules") or []
        for rule in rules:
            for path in (rule.get("http") or {}).get("paths") or []:
                service = path["backend"]["service"]
                port = service["port"].get("number") or service["port"].get("name")
                yield (
                    f"`{rule.get('host', '*')}{path.get('path', '/')}`",
                    f"`{service['name']}:{port}`",
                    f"{places.cell('global.domain')}; {places.cell('.'.join(ingress))}",
                )


def services(parts: Iterable[Part], places: Places) -> Iterator[Row]:
    """(Service, type and ports, what stands behind it, key)."""
    listed = list(parts)
    for part in _of_kinds(listed, "Service"):
        spec = part.object["spec"]
        ports = ", ".join(str(port["port"]) for port in spec.get("ports") or [])
        behind = ", ".join(f"`{found.name}`" for found in listed if _selects(spec.get("selector") or {}, found))
        kind = spec.get("type") or "ClusterIP"
        yield f"`{part.name}`", f"{kind} {ports}", behind or "-", places.cell(".".join(part.block))


def workloads(parts: Iterable[Part], places: Places) -> Iterator[Row]:
    """(kind and name, images of its containers, key)."""
    for part in _of_kinds(parts, *WORKLOADS):
        containers = part.object["spec"].get("template", {}).get("spec", {}).get("containers") or []
        images = dict.fromkeys(_short(str(container.get("image"))) for container in containers)
        yield f"{part.kind} `{part.name}`", ", ".join(images), places.cell(".".join(part.block))


def _short(image: str) -> str:
    """An image's name; its digest stands in the lock."""
    return f"`{image.partition('@')[0]}`"


def _selects(selector: Mapping[str, str], part: Part) -> bool:
    labels = part.object.get("spec", {}).get("template", {}).get("metadata", {}).get("labels") or {}
    return part.kind in WORKLOADS and bool(selector) and selector.items() <= labels.items()


def _of_kinds(parts: Iterable[Part], *kinds: str) -> list[Part]:
    return sorted((part for part in parts if part.kind in kinds), key=lambda part: part.name)
