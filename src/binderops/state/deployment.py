"""The state of one environment: its release, those that come before it, and the digests of what would run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from binderops.errors import ValuesError
from binderops.helm.rendering import merged_values
from binderops.state.chart import ChartArchive, pack_chart
from binderops.state.composition import Composition, compose
from binderops.state.layers import read_layers
from binderops.state.project import Environment, Project
from binderops.state.public import PublicSettings
from binderops.state.release import Object, ReleaseState, parse_manifests
from binderops.state.values import Layers

__all__ = ["Deployment", "Object", "load_deployment", "parse_manifests"]


@dataclass(frozen=True)
class Deployment:
    """What an environment should be. Nothing in it depends on a cluster or on the time of day."""

    name: str
    environment: Environment
    main: ReleaseState
    before: tuple[ReleaseState, ...]
    images: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def chart(self) -> ChartArchive:
        """The meta chart."""
        return self.main.chart

    @property
    def layers(self) -> Layers:
        """The layers of the environment's own release."""
        return self.main.layers

    @property
    def values(self) -> dict[str, Any]:
        """The merged layers, without the chart's defaults; secrets are not opened."""
        return self.main.values

    @property
    def computed(self) -> dict[str, Any]:
        """What the templates see; for secrets, their digest."""
        return self.main.computed

    @cached_property
    def chart_defaults(self) -> dict[str, Any]:
        """What the templates would see without any layer."""
        return merged_values(self.chart.content, {})

    @property
    def objects(self) -> list[Object]:
        """Every object of the render of the environment's own release."""
        return self.main.objects

    def concealed(self, text: str) -> str:
        """Words from outside, without any secret of any of its releases."""
        for release in (*self.before, self.main):
            text = release.concealed(text)
        return text

    @property
    def namespace(self) -> str:
        """Where the environment's own release is."""
        return self.environment.namespace

    @property
    def timeout(self) -> int:
        """Seconds until it must be ready."""
        return self.environment.timeout

    @cached_property
    def public(self) -> PublicSettings:
        """Domain, public ports and path; raises ValuesError naming the layer that sets them wrong."""
        try:
            return PublicSettings.of(self.computed)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = PublicSettings.key_of(str(first["loc"][0]))
            key, where = ".".join(path), self.layers.origin(path) or "the layers of " + self.name
            raise ValuesError(
                f"{key}: {first['msg']}", where=where, hint=f"set {key} in config/{self.name}.yaml"
            ) from None

    @cached_property
    def composition(self) -> Composition:
        """What it is made of, each part with its digest."""
        return compose(self.environment, self.main, self.before, images=self.images)

    @property
    def digest(self) -> str:
        """sha256 of what would run."""
        return self.composition.digest

    @property
    def common(self) -> str:
        """sha256 of what environments have in common: charts, values.yaml, images."""
        return self.composition.common


def load_deployment(
    root: Path, project: Project, name: str, *, generated: Sequence[Path] = (), opened: bool = True
) -> Deployment:
    """Reads an environment. `generated` layers (image lock, machine) stand below those that people wrote.

    With `opened` False no key is needed: it has its digests and its public settings, but cannot be rendered.
    """
    environment = project.environment(name)
    here = environment.target.node is not None
    main = ReleaseState(
        release=environment.release,
        namespace=environment.namespace,
        timeout=environment.timeout,
        chart=pack_chart(root, project.chart),
        layers=read_layers(
            root,
            environment.layers,
            owner=name,
            generated=generated,
            images=project.images,
            opened=opened,
            on_this_machine=here,
        ),
    )
    before = tuple(
        ReleaseState(
            release=first.release,
            namespace=first.namespace,
            timeout=first.timeout,
            chart=pack_chart(root, first.chart),
            layers=read_layers(
                root, first.layers, owner=f"{name}, {first.release}", opened=opened, on_this_machine=here
            ),
        )
        for first in environment.before
    )
    return Deployment(
        name=name, environment=environment, main=main, before=before, images=tuple(project.images.items())
    )
