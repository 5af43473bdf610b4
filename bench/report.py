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
    bar: float | None = None  # what the median may be at most, where that is promised
    bar_p95: float | None = None  # and the 95th percentile
    bar_p99: float | None = None  # and the 99th

    @classmethod
    def difference(
        cls, recipe: str, ours: list[float], baseline: list[float], *, bar: float, bar_p95: float | None = None
    ) -> Series:
        """What we take more than the baseline, in seconds, sample by sample as they were taken in turn."""
        samples = [a - b for a, b in zip(ours, baseline, strict=True)]
        return cls("difference", recipe, "s", samples, bar=bar, bar_p95=bar_p95)

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def p95(self) -> float:
        """The 95th percentile by nearest rank; with few samples, the largest."""
        return self._rank(0.95)

    @property
    def p99(self) -> float:
        """The 99th percentile, as the 95th."""
        return self._rank(0.99)

    def _rank(self, share: float) -> float:
        ordered = sorted(self.samples)
        return ordered[min(len(ordered) - 1, round(share * len(ordered)))]

    @property
    def verdict(self) -> str:
        """`MISSED` where the median or a percentile is above its bar, `-` where nothing is promised."""
        held = [(self.p50, self.bar), (self.p95, self.bar_p95), (self.p99, self.bar_p99)]
        promised = [figure <= bar for figure, bar in held if bar is not None]
        if not promised:
            return "-"
        return "kept" if all(promised) else "MISSED"

    @property
    def bars(self) -> str:
        """The verdict and the bars that it is about."""
        told = [f"p50 ≤ {self.bar:g}" if self.bar is not None else ""]
        told += [f"p95 ≤ {self.bar_p95:g}" if self.bar_p95 is not None else ""]
        told += [f"p99 ≤ {self.bar_p99:g}" if self.bar_p99 is not None else ""]
        return f"{self.verdict} ({', '.join(filter(None, told))})" if any(told) else self.verdict


@dataclass
class Report:
    """One bench: its series, and the machine that they were taken on."""

    title: str
    order: str
    series: list[Series] = field(default_factory=list)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    load_after: float = 0.0

    def show(self) -> None:
        """Prints the table and writes the JSON beside it."""
        self.load_after = os.getloadavg()[0]
        load = f"load {self.load_before:.1f} before, {self.load_after:.1f} after"
        machine = f"{os.cpu_count()} cores, {load}, kernel {platform.release()}"
        table = Table(title=f"{self.title}   ({self.order}; {machine})", title_justify="left", box=None)
        for column in ("what", "n", "min", "p50", "p95", "p99", "max", "unit", "bar"):
            table.add_column(column, justify="left" if column in {"what", "unit", "bar"} else "right")
        for found in self.series:
            figures = (min(found.samples), found.p50, found.p95, found.p99, max(found.samples))
            table.add_row(
                found.name, str(len(found.samples)), *(f"{value:.2f}" for value in figures), found.unit, found.bars
            )
        console = Console(width=150)
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
