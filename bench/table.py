"""The last figures of all benches as the table that stands in docs/develop/bench.md."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from bench.report import REPORTS, Series

_HEAD = "| what | taken | load | n | min | p50 | p95 | p99 | bar |\n|---|---|---|---|---|---|---|---|---|"


def last_figures() -> str:
    """A Markdown table of build/reports/bench-*.json, the oldest first."""
    found = sorted(
        (json.loads(path.read_text(encoding="utf-8")) for path in REPORTS.glob("bench-*.json")),
        key=lambda each: str(each["taken"]),
    )
    rows = [(report, Series(**series)) for report in found for series in report["series"]]
    return "\n".join([_HEAD, *(_row(report, series) for report, series in rows if not _is_part(series))])


def _is_part(series: Series) -> bool:
    """Whether it says where the time or the memory of another one goes."""
    return series.name.startswith(" ") or (series.unit == "MB" and series.bar is None)


def _row(report: dict[str, Any], series: Series) -> str:
    taken = datetime.fromisoformat(report["taken"]).strftime("%d %b %H:%M")
    load = f"{report['load_before']:.1f}, {report.get('load_after', 0):.1f}"
    name = f"{series.name.strip()}, {series.unit}" if series.unit else series.name.strip()
    few = len(series.samples) < 3
    figures = ("", _told(series.p50), "", "") if few else tuple(map(_told, _figures(series)))
    return f"| {' | '.join((name, taken, load, str(len(series.samples)), *figures, series.bars))} |"


def _figures(series: Series) -> tuple[float, ...]:
    return min(series.samples), series.p50, series.p95, series.p99


def _told(value: float) -> str:
    """Two digits after the point where that says something, three digits in all elsewhere."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
