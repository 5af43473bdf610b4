"""What Helm does without a cluster: parse values, merge them into a chart, render."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import helm_python

from binderops.errors import ChartError


def parse_values(text: str) -> dict[str, Any]:
    """Parses a YAML mapping with Helm's own parser; raises ValueError with Helm's reason."""
    try:
        return helm_python.values_from_yaml(text) if text.strip() else {}
    except helm_python.HelmError as error:
        raise ValueError(str(error)) from None


def helm_version() -> str:
    """The version of the Helm SDK that renders here."""
    return helm_python.helm_sdk_version()


def merged_values(archive: bytes, values: Mapping[str, Any]) -> dict[str, Any]:
    """The chart's defaults with `values` over them, coalesced by Helm, subcharts' blocks included."""
    with _chart(archive) as chart:
        return chart.merge_values(dict(values))


def render_chart(archive: bytes, values: Mapping[str, Any], *, release: str, namespace: str) -> dict[str, str]:
    """Renders offline (`lookup` finds nothing): template path -> text.

    Raises ChartError with Helm's message, which names template and line; values that the chart's schema refuses are
    told key by key.
    """
    with _chart(archive) as chart:
        try:
            return chart.render(dict(values), name=release, namespace=namespace)
        except helm_python.HelmValuesError as error:
            raise ChartError(
                "the values do not fit the chart", why=_first_lines(str(error)), hint="mend the keys that are named"
            ) from None
        except helm_python.HelmError as error:
            raise ChartError("the chart does not render", why=_first_lines(str(error))) from None


@contextmanager
def _chart(archive: bytes) -> Iterator[helm_python.Chart]:
    try:
        chart = helm_python.Chart.load_archive(archive)
    except helm_python.HelmError as error:
        raise ChartError("the chart cannot be loaded", why=_first_lines(str(error))) from None
    try:
        yield chart
    finally:
        chart.close()


def _first_lines(text: str, *, lines: int = 20) -> str:
    return "\n".join(text.strip().splitlines()[:lines])
