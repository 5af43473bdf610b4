"""What a bench says: how the baseline is made, n, order, load, every sample; a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

REPORTS = Path(__file__).parents[1] / "build" / "reports"


@dataclass(frozen=True)
class Series:
    """Samples of one figure, in the order they were taken, with how they were made."""

    name: str
    recipe: str
    unit: str
    samples: list[float]
    bar: float | None = None  # the figure that is promised, where one is

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def p95(self) -> float:
        """The 95th percentile by nearest rank; with few samples, the largest."""
        ordered = sorted(self.samples)
        return ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]

    @property
    def verdict(self) -> str:
        """`MISSED` where the median is above the bar."""
        if self.bar is None:
            return "-"
        return "kept" if self.p50 <= self.bar else "MISSED"


@dataclass
class Report:
    """One bench: its series, and the machine that they were taken on."""

    title: str
    order: str
    series: list[Series] = field(default_factory=list)

    def show(self) -> None:
        """Prints the table and writes the JSON beside it."""
        machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, kernel {platform.release()}"
        table = Table(title=f"{self.title}   ({self.order}; {machine})", title_justify="left", box=None)
        for column in ("what", "n", "min", "p50", "p95", "max", "unit", "bar"):
            table.add_column(column, justify="left" if column in {"what", "unit", "bar"} else "right")
        for found in self.series:
            figures = (min(found.samples), found.p50, found.p95, max(found.samples))
            bar = found.verdict if found.bar is None else f"{found.verdict} ({found.bar:g})"
            table.add_row(found.name, str(len(found.samples)), *(f"{value:.2f}" for value in figures), found.unit, bar)
        console = Console(width=130)
        console.print(table)
        for found in self.series:
            console.print(f"  {found.name}: {found.recipe}", style="dim", highlight=False)
        self.write(machine)

    def write(self, machine: str) -> Path:
        """build/reports/bench-TITLE.json."""
        REPORTS.mkdir(parents=True, exist_ok=True)
        path = REPORTS / f"bench-{self.title.split()[0].lower()}.json"
        told = {"taken": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, **asdict(self)}
        path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        return path
