"""The state of one environment: its chart, its layers, and what they render to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from ruamel.yaml import YAML

from binderops.errors import ChartError, ValuesError
from binderops.helm.rendering import merged_values, render_chart
from binderops.state.chart import ChartArchive, pack_chart
from binderops.state.documents import read_document
from binderops.state.project import Environment, Project
from binderops.state.values import Layers

Object = dict[str, Any]


class PublicSettings(BaseModel):
    """Where people reach the environment: `global.domain`, `global.publicPort`, `global.publicTlsPort`."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, populate_by_name=True)

    domain: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    public_port: int = Field(default=80, ge=1, le=65535)
    public_tls_port: int = Field(default=0, ge=0, le=65535)

    @property
    def url(self) -> str:
        """The binder's own address, with a slash at its end."""
        if self.public_tls_port:
            return f"https://{self.domain}{_port(self.public_tls_port, usual=443)}/"
        return f"http://{self.domain}{_port(self.public_port, usual=80)}/"

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that the machine must have free."""
        return tuple(port for port in (self.public_port, self.public_tls_port) if port)


@dataclass(frozen=True)
class Deployment:
    """What an environment should be. Nothing in it depends on a cluster or on the time of day."""

    name: str
    environment: Environment
    chart: ChartArchive
    layers: Layers

    @cached_property
    def values(self) -> dict[str, Any]:
        """What Helm is given: the merged layers, without the chart's defaults."""
        return self.layers.merged

    @cached_property
    def computed(self) -> dict[str, Any]:
        """What the templates see: the chart's defaults with the layers over them."""
        return merged_values(self.chart.content, self.values)

    @cached_property
    def public(self) -> PublicSettings:
        """Domain and public ports; raises ValuesError naming the layer that sets them wrong."""
        try:
            return PublicSettings.model_validate(self.computed.get("global") or {})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = f"global.{first['loc'][0]}"
            where = self.layers.origin(("global", str(first["loc"][0]))) or "the layers of " + self.name
            raise ValuesError(
                f"{key}: {first['msg']}", where=where, hint=f"set {key} in config/{self.name}.yaml"
            ) from None

    @cached_property
    def objects(self) -> list[Object]:
        """Every object of the render, hooks included, in Helm's order of templates."""
        rendered = render_chart(
            self.chart.content, self.values, release=self.environment.release, namespace=self.environment.namespace
        )
        return parse_manifests(rendered)

    @cached_property
    def digest(self) -> str:
        """sha256 over chart, layers, namespace and release: what would run."""
        told = {
            "chart": self.chart.digest,
            "values": self.values,
            "namespace": self.environment.namespace,
            "release": self.environment.release,
        }
        return "sha256:" + hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def load_deployment(root: Path, project: Project, name: str, *, generated: Sequence[Path] = ()) -> Deployment:
    """Reads an environment. `generated` layers (image lock, machine) stand below those that people wrote."""
    environment = project.environment(name)
    documents = [read_document(path) for path in generated if path.exists()]
    for pattern in environment.layers:
        documents += [read_document(path, name=str(path.relative_to(root))) for path in _expand(root, pattern, name)]
    return Deployment(
        name=name, environment=environment, chart=pack_chart(root, project.chart), layers=Layers(tuple(documents))
    )


def _expand(root: Path, pattern: str, environment: str) -> list[Path]:
    if any(character in pattern for character in "*?["):
        return sorted(path for path in root.glob(pattern) if path.is_file())
    path = root / pattern
    if not path.is_file():
        raise ValuesError(
            f"the layer {pattern} of {environment} is missing",
            where="binderops.yaml",
            hint=f"create {pattern}, or take it out of environments.{environment}.layers",
        )
    return [path]


def parse_manifests(rendered: Mapping[str, str]) -> list[Object]:
    """The objects of a render; raises ChartError naming the template whose output is not YAML."""
    reader = YAML(typ="safe", pure=False)
    objects: list[Object] = []
    for template, text in rendered.items():
        if template.endswith(("NOTES.txt", ".tpl")) or not text.strip():
            continue
        try:
            documents = list(reader.load_all(text))
        except Exception as error:
            raise ChartError(f"{template} renders to what is not YAML", where=template, why=str(error)) from None
        objects += [document for document in documents if isinstance(document, dict) and document.get("kind")]
    return objects


def _port(port: int, *, usual: int) -> str:
    return "" if port == usual else f":{port}"
