"""One Helm release as it should be: a chart, its layers, and what they render to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ruamel.yaml import YAML

from binderops.errors import ChartError
from binderops.helm.rendering import merged_values, render_chart
from binderops.secrets.values import Secret, conceal, reveal_for_helm, secrets_in
from binderops.state.chart import ChartArchive
from binderops.state.schema_errors import first_mistake
from binderops.state.switched_off import schemas_only
from binderops.state.values import Layers

Object = dict[str, Any]


@dataclass(frozen=True)
class ReleaseState:
    """What one release should be; `timeout` is in seconds. Values of sealed layers stay `Secret`s here."""

    release: str
    namespace: str
    timeout: int
    chart: ChartArchive
    layers: Layers

    @cached_property
    def values(self) -> dict[str, Any]:
        """The merged layers, without the chart's defaults; secrets are not opened."""
        return self.layers.merged

    @cached_property
    def computed(self) -> dict[str, Any]:
        """What the templates see: the chart's defaults with the layers over them; for secrets, their digest."""
        return merged_values(self.chart.content, self.values)

    def values_for_helm(self) -> dict[str, Any]:
        """The values with every secret opened: for the call that hands them to Helm, and nothing else."""
        return reveal_for_helm(self.values)  # type: ignore[no-any-return]

    @cached_property
    def secrets(self) -> tuple[Secret, ...]:
        """Every secret of the values."""
        return tuple(secret for _, secret in secrets_in(self.values))

    @cached_property
    def objects(self) -> list[Object]:
        """Every object of the render, hooks included, in Helm's order. Never shown: secrets stand in it.

        Raises ChartError, also for values of a dependency that is switched off.
        """
        try:
            values = self.values_for_helm()
            _ = render_chart(schemas_only(self.chart.content), values, release=self.release, namespace=self.namespace)
            return parse_manifests(
                render_chart(self.chart.content, values, release=self.release, namespace=self.namespace)
            )
        except ChartError as error:
            told, where, why, hint = error.what, error.where, self.concealed(error.why or ""), error.hint
        if place := first_mistake(why, self.chart, self.layers):
            where, hint = place.where, place.hint or hint
            told = f"{place.key}: {told}"
        raise ChartError(told, where=where, why=why or None, hint=hint)

    def concealed(self, text: str) -> str:
        """Words from outside, without any secret that stands in them."""
        return conceal(text, self.secrets)


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
